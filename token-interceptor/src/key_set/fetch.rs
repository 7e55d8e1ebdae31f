//! The fetch of a key set: over HTTP (a JWK Set, discovered or at a given URL), or over gRPC from the issuer.

mod grpc;
#[cfg(feature = "http")]
mod http;

use std::fmt;

use async_trait::async_trait;

pub(crate) use grpc::FromTrustService;
#[cfg(feature = "http")]
pub(crate) use http::{FromDiscovery, FromJwks};

use super::{KeySet, KeySetError};
use crate::http_client;
#[cfg(feature = "http")]
use crate::http_client::HttpError;

/// A way to fetch the keys of one issuer.
#[async_trait]
pub(crate) trait FetchKeys: fmt::Debug + Send + Sync + 'static {
    async fn fetch(&self) -> Result<KeySet, FetchError>;
}

/// The error of a failed fetch. For the log: it names what was requested, never the answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[cfg(feature = "http")]
    #[error("{what} cannot be fetched")]
    Http { what: &'static str, source: HttpError },
    #[cfg(feature = "http")]
    #[error("{what} answers with status {status}")]
    Status { what: &'static str, status: ::http::StatusCode },
    #[cfg(feature = "http")]
    #[error("{what} is not JSON of the expected form")]
    Malformed { what: &'static str, source: serde_json::Error },
    /// RFC 8414 section 3.3: the two must be identical, or an attacker could speak for the issuer.
    #[error("{what} is about another issuer")]
    OtherIssuer { what: &'static str },
    #[cfg(feature = "http")]
    #[error("{what} names a jwks_uri that must not be used")]
    UnusableKeysUrl { what: &'static str },
    #[error("the key set is malformed")]
    KeySet(#[from] KeySetError),
    /// A set without a usable key is a mistake of the issuer or of a proxy, so it is rejected. An empty set
    /// is accepted: it says that no token is valid.
    #[error("the key set has no usable key among {skipped}: {reasons}")]
    NothingUsable { skipped: usize, reasons: String },
    #[error("the issuer's TrustService answers with {0}")]
    Grpc(tonic::Code),
    #[error("the issuer's TrustService cannot be reached: {}", http_client::OVER_GRPC)]
    GrpcUntrusted,
}

/// Returns the set, unless it lists keys and none is usable.
fn usable(set: KeySet) -> Result<KeySet, FetchError> {
    if set.is_empty() && set.skipped() > 0 {
        return Err(FetchError::NothingUsable { skipped: set.skipped(), reasons: set.reasons() });
    }
    Ok(set)
}
