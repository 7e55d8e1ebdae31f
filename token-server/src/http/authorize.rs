//! The authorization endpoint, for libraries that reject metadata without one. RFC 6749 section 4.1.2.1.
//!
//! No grant here uses it. It answers every request with the same error and never redirects: the redirect URI
//! in the query was never validated.

use axum::{extract::Request, response::Response};

use super::error;

use crate::connection;

pub(super) async fn authorize(request: Request) -> Response {
    error::unsupported_response_type(&connection::origin(request.headers(), request.extensions()))
}
