//! The answer of a token endpoint, read as a source over HTTP reads it.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use crate::{
    clock::Clock,
    http_client::HttpResponse,
    source::{IssuedToken, SourceError, http::answer},
};

/// Reads the answer of a token endpoint (RFC 6749 sections 5.1 and 5.2). For a scripted issuer without
/// sockets.
///
/// # Errors
///
/// When the answer is a refusal, or neither a token nor a refusal.
pub fn token_response(
    status: u16,
    headers: HeaderMap,
    body: impl Into<Bytes>,
    clock: &dyn Clock,
) -> Result<IssuedToken, SourceError> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer::read(&HttpResponse { status, headers, body: body.into() }, clock, false)
}
