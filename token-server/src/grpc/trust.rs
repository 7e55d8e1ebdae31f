//! `m2m.token.v1.TrustService`: the facts that verifiers need, on request or as a stream.

pub(super) mod encode;
mod slots;
mod stall;
mod state;
mod watch;

use std::{fmt, sync::Arc};

use token_issuer::{
    error::{Budget, IssueError, UNAVAILABLE_RETRY_AFTER},
    issuer::Issuer,
    origin::Origin,
};
use token_proto::token::v1::{self, trust_service_server};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, status, token::echo};
use crate::connection;
use crate::connection::ConnectionInfo;
use slots::Slots;

/// Returns the service, ready for a router.
#[must_use]
pub fn server(issuer: Arc<Issuer>) -> trust_service_server::TrustServiceServer<TrustService> {
    let settings = issuer.trust_streams();
    let slots = Slots::new(settings.streams, settings.streams_per_peer);
    trust_service_server::TrustServiceServer::new(TrustService { issuer, latest: Arc::default(), slots })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Answers from the key ring, without the store.
pub struct TrustService {
    issuer: Arc<Issuer>,
    latest: Arc<state::Latest>,
    slots: Slots,
}

impl fmt::Debug for TrustService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustService").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl trust_service_server::TrustService for TrustService {
    type WatchTrustStream = watch::TrustStream;

    async fn get_issuer(
        &self,
        request: Request<v1::GetIssuerRequest>,
    ) -> Result<Response<v1::GetIssuerResponse>, Status> {
        let issuer = Some(encode::issuer(self.issuer.metadata()));
        Ok(echo(v1::GetIssuerResponse { issuer }, &origin(&request)))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let keys = self.issuer.keys().published().keys.iter().map(encode::key).collect();
        let max_age = prost_types::Duration::try_from(self.issuer.key_set_max_age()).ok();
        Ok(echo(v1::ListKeysResponse { keys, max_age }, &origin(&request)))
    }

    async fn watch_trust(
        &self,
        request: Request<v1::WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        let (origin, line) = (origin(&request), request.extensions().get::<ConnectionInfo>());
        if self.issuer.trust_streams().client_certificate_required && line.is_none_or(|line| !line.client_certificate) {
            return Err(status::client_certificate_missing(&origin));
        }
        let slot = self.slots.take(origin.peer()).ok_or_else(|| {
            let error = IssueError::RateLimited { budget: Budget::TrustStreams, retry_after: UNAVAILABLE_RETRY_AFTER };
            status::of_refusal(&error, &origin)
        })?;
        let since_version = &request.get_ref().since_version;
        let stream = watch::stream(Arc::clone(&self.issuer), Arc::clone(&self.latest), since_version, line, slot);
        Ok(echo(stream, &origin))
    }
}

fn origin<T>(request: &Request<T>) -> Origin {
    connection::origin(request.metadata().as_ref(), request.extensions())
}
