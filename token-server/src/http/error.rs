//! [`IssueError`] → OAuth JSON. The only place that does so for HTTP.
//!
//! RFC 6749 section 5.2; RFC 8707 section 2; RFC 6585 section 4 for 429.

use std::time::Duration;

use axum::{Json, body::Body, response::IntoResponse as _};
use http::{
    HeaderValue, Response, StatusCode, Version,
    header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;
use token_interceptor::status::{http_status, oauth_error};
use token_issuer::{
    error::{IssueError, TOO_SLOW},
    origin::Origin,
};
use token_proto::token::v1::ErrorReason;

use super::body::never_cached;

#[derive(Serialize)]
struct OAuthError<'a> {
    error: &'static str,
    error_description: String,
    /// The same reason as over gRPC: finer than `error`, and as stable.
    reason: &'static str,
    request_id: &'a str,
}

/// The response to a rejected request. `challenge` is the `WWW-Authenticate` value of a 401.
pub(super) fn response(error: &IssueError, origin: &Origin, challenge: &HeaderValue) -> Response<Body> {
    let reason = error.reason();
    // HTTP has a status of its own for a body that is too long: RFC 9110 section 15.5.14.
    let too_large = matches!(error, IssueError::BodyTooLarge { .. });
    let status = if too_large { StatusCode::PAYLOAD_TOO_LARGE } else { http_status(reason) };
    let mut response = shaped(status, oauth_error(reason), &error.to_string(), reason, origin);
    let headers = response.headers_mut();
    if status == StatusCode::UNAUTHORIZED {
        // RFC 9110 section 15.5.2: every 401 carries a challenge.
        headers.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    if let Some(after) = error.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
    }
    response
}

/// The response to a registration with invalid client metadata. RFC 7591 section 3.2.2.
pub(super) fn metadata_refused(code: &'static str, description: &str, origin: &Origin) -> Response<Body> {
    shaped(StatusCode::BAD_REQUEST, code, description, ErrorReason::InvalidRequest, origin)
}

/// The response to a forbidden change of a registration. RFC 7592 section 2.2.
pub(super) fn registration_forbidden(sentence: &str, origin: &Origin) -> Response<Body> {
    shaped(StatusCode::FORBIDDEN, "access_denied", sentence, ErrorReason::CallerNotAllowed, origin)
}

fn shaped(
    status: StatusCode,
    error: &'static str,
    description: &str,
    reason: ErrorReason,
    origin: &Origin,
) -> Response<Body> {
    let request_id = origin.request_id().as_str();
    let body = OAuthError { error, error_description: describe(description), reason: reason.as_reason(), request_id };
    let mut response = (status, Json(body)).into_response();
    never_cached(response.headers_mut(), origin);
    response
}

/// The response to every request to the authorization endpoint. RFC 6749 section 4.1.2.1.
pub(super) fn unsupported_response_type(origin: &Origin) -> Response<Body> {
    const SENTENCE: &str =
        "This issuer issues tokens to programs at its token endpoint only; no response type is supported here.";
    shaped(StatusCode::BAD_REQUEST, "unsupported_response_type", SENTENCE, ErrorReason::InvalidRequest, origin)
}

/// The response to a method that the endpoint does not support. RFC 9110 section 15.5.6.
pub(super) fn wrong_method(allow: HeaderValue, origin: &Origin) -> Response<Body> {
    let refusal = IssueError::invalid_request("This endpoint does not support the method.");
    let mut response = response(&refusal, origin, &HeaderValue::from_static(""));
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// The response to a request above the limit of concurrent requests.
pub(crate) fn overloaded(origin: &Origin) -> Response<Body> {
    response(&IssueError::overloaded(), origin, &HeaderValue::from_static(""))
}

/// The response to a request that is rejected before it reaches its endpoint.
pub(crate) fn refused(error: &IssueError, origin: &Origin) -> Response<Body> {
    response(error, origin, &HeaderValue::from_static(""))
}

/// The response to a request that took too long. RFC 9110 section 15.5.9.
pub(crate) fn too_slow(origin: &Origin) -> Response<Body> {
    let mut response =
        shaped(StatusCode::REQUEST_TIMEOUT, "invalid_request", TOO_SLOW, ErrorReason::InvalidRequest, origin);
    // Otherwise the rest of this request would be parsed as the next one.
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The response to a request that violates HTTP or needs an unsupported feature.
pub(crate) fn not_conforming(status: StatusCode, sentence: &str, origin: &Origin, version: Version) -> Response<Body> {
    let mut response = shaped(status, "invalid_request", sentence, ErrorReason::InvalidRequest, origin);
    if version != Version::HTTP_2 {
        // The start of the next request can no longer be determined.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Rounds up, so that a client does not retry too early.
fn whole_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// Replaces the characters that `error_description` must not contain. RFC 6749 section 5.2 allows %x20-21 /
/// %x23-5B / %x5D-7E.
fn describe(sentence: &str) -> String {
    sentence.chars().map(|c| if matches!(c, ' '..='!' | '#'..='[' | ']'..='~') { c } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn description_keeps_to_the_characters_of_rfc_6749_section_5_2() {
        assert_eq!(describe("a \"b\" \\ é\n."), "a ?b? ? ??.");
    }
}
