//! The keys of a token server over gRPC: `token.v1.TrustService`.

use std::sync::Arc;

use async_trait::async_trait;
use token_proto::v1::{GetIssuerRequest, KeyState, ListKeysRequest, trust_service_client::TrustServiceClient};
use tonic::transport::Channel;

use super::{FetchError, FetchKeys};
use crate::key_set::KeySet;

/// Largest answer: as for HTTP.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// The issuer's own `TrustService`.
#[derive(Debug)]
pub(crate) struct FromTrustService {
    pub(crate) issuer: Arc<str>,
    pub(crate) channel: Channel,
}

#[async_trait]
impl FetchKeys for FromTrustService {
    async fn fetch(&self) -> Result<KeySet, FetchError> {
        let mut client = TrustServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX);
        let failed = |status: tonic::Status| FetchError::Grpc(status.code());
        let described = client.get_issuer(GetIssuerRequest {}).await.map_err(failed)?.into_inner();
        if described.issuer.is_none_or(|described| *described.issuer != *self.issuer) {
            return Err(FetchError::OtherIssuer { what: "the TrustService" });
        }
        let keys = client.list_keys(ListKeysRequest {}).await.map_err(failed)?.into_inner().keys;
        let trusted = keys.iter().filter(|key| key.state() != KeyState::Distrusted);
        Ok(KeySet::from_jwks_one_by_one(trusted.map(|key| &*key.jwk)))
    }
}
