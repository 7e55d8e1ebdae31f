//! The gRPC protocol. Each service has its own file. A handler decodes the request, calls the domain, and
//! encodes the response.

pub mod audit;
pub mod clients;
pub mod ext_authz;
pub mod keys;
pub(crate) mod operator;
pub mod status;
mod structure;
pub mod token;
pub mod trust;

use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};

/// The longest request message that is read, in bytes: several times the longest valid one.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Returns true for the header fields of a request in any form of gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    content_type.starts_with(b"application/grpc")
}
