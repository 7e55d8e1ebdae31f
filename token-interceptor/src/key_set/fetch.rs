//! Where key sets are fetched from: a JWK Set over HTTP, found by discovery or given; the issuer over gRPC.

mod grpc;
mod http;

use std::{error::Error, fmt};

use async_trait::async_trait;

pub(crate) use grpc::FromTrustService;
pub(crate) use http::{Documents, FromDiscovery, FromJwks};

use super::{KeySet, KeySetError};
use crate::http_client::{self, HttpError};

/// One way to fetch the keys of one issuer.
#[async_trait]
pub(crate) trait FetchKeys: fmt::Debug + Send + Sync + 'static {
    async fn fetch(&self) -> Result<KeySet, FetchError>;
}

/// Why there is no key set. For the log: it names what was asked, never what was answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{what} cannot be fetched")]
    Http { what: &'static str, source: HttpError },
    #[error("{what} answers with status {status}")]
    Status { what: &'static str, status: ::http::StatusCode },
    #[error("{what} is not the JSON that it should be")]
    Malformed { what: &'static str, source: serde_json::Error },
    /// RFC 8414 section 3.3: it must be identical, or anybody could speak for the issuer.
    #[error("{what} is about another issuer")]
    OtherIssuer { what: &'static str },
    #[error("{what} names a jwks_uri that must not be used")]
    UnusableKeysUrl { what: &'static str },
    #[error("the key set is malformed")]
    KeySet(#[from] KeySetError),
    /// An issuer that lists keys means to be verified: a set without one that can be used is a mistake of its own or of
    /// a proxy. An empty list is held, as it says that nothing is valid.
    #[error("the key set has no usable key among {skipped}: {reasons}")]
    NothingUsable { skipped: usize, reasons: String },
    #[error("the issuer's TrustService answers with {0}")]
    Grpc(tonic::Code),
    #[error("the issuer's TrustService cannot be reached: {}", http_client::OVER_GRPC)]
    GrpcUntrusted,
}

/// The set, unless it lists keys of which none can be used.
fn usable(set: KeySet) -> Result<KeySet, FetchError> {
    if set.is_empty() && set.skipped() > 0 {
        return Err(FetchError::NothingUsable { skipped: set.skipped(), reasons: set.reasons() });
    }
    Ok(set)
}

impl FetchError {
    /// The error and all its causes, once.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
