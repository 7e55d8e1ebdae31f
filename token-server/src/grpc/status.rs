//! [`IssueError`] → gRPC status. The only place in this crate that builds a `tonic::Status`.
//!
//! A status carries a code, a stable reason (`google.rpc.ErrorInfo`), the request ID for the log, and
//! `RetryInfo` if it helps. A failed client authentication carries the same challenge as over HTTP (RFC 6749
//! section 5.2).

mod admin;

use std::{collections::HashMap, sync::LazyLock, time::Duration};

use http::{HeaderValue, header::WWW_AUTHENTICATE};
use token_interceptor::status::{Answer, code};
use token_issuer::{
    error::{IssueError, TOO_SLOW},
    origin::{Origin, REQUEST_ID},
};
use token_proto::{ERROR_DOMAIN, token::v1::ErrorReason};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

pub(super) use admin::of_admin_error;

/// The status of a rejected request. `challenge` is the `www-authenticate` value of a failed client
/// authentication.
#[must_use]
pub fn of_issue_error(error: &IssueError, origin: &Origin, challenge: &HeaderValue) -> Status {
    let mut status = of_refusal(error, origin);
    if let IssueError::ClientAuthenticationFailed(_) = error {
        let mut metadata = status.metadata().clone().into_headers();
        metadata.insert(WWW_AUTHENTICATE, challenge.clone());
        *status.metadata_mut() = MetadataMap::from_headers(metadata);
    }
    status
}

/// The status of a rejected request that authenticates no client.
pub(super) fn of_refusal(error: &IssueError, origin: &Origin) -> Status {
    with_reason(error.reason(), &error.to_string(), origin, error.retry_after())
}

/// The status of a call that requires a client certificate.
pub(super) fn client_certificate_missing(origin: &Origin) -> Status {
    const SENTENCE: &str = "The method requires a client certificate. Connect over TLS with one.";
    with_reason(ErrorReason::ClientAuthenticationFailed, SENTENCE, origin, None)
}

/// A status with the details that every error of this server carries. The reason decides the code.
#[must_use]
pub fn with_reason(reason: ErrorReason, sentence: &str, origin: &Origin, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_reason(), ERROR_DOMAIN, HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    with_details(code(reason), sentence, details, origin)
}

fn with_details(code: Code, sentence: &str, mut details: ErrorDetails, origin: &Origin) -> Status {
    details.set_request_info(origin.request_id().as_str(), "");
    Status::with_error_details_and_metadata(code, sentence, details, named(origin))
}

fn named(origin: &Origin) -> MetadataMap {
    let headers = http::HeaderMap::from_iter([(REQUEST_ID, origin.request_id().header_value())]);
    MetadataMap::from_headers(headers)
}

/// The status of an invalid bearer token, in the layers' words.
pub(super) fn of_bearer(answer: Answer, origin: &Origin) -> Status {
    let mut status = answer.into_status();
    // An ID is visible ASCII, so it is always a valid value.
    if let Ok(id) = origin.request_id().as_str().parse() {
        status.metadata_mut().insert("x-request-id", id);
    }
    status
}

/// The status of a method that this server does not offer.
#[must_use]
pub fn not_offered() -> Status {
    Status::unimplemented("This issuer does not offer the method.")
}

/// The status of a request above the limit of concurrent requests.
///
/// An overloaded server returns it many times, so the constant part is built once. Two concatenated Protobuf
/// messages are one message, here with the details of both.
#[must_use]
pub fn overloaded(origin: &Origin) -> Status {
    static SAME: LazyLock<Status> = LazyLock::new(|| {
        let error = IssueError::overloaded();
        let mut details = ErrorDetails::with_error_info(error.reason().as_reason(), ERROR_DOMAIN, HashMap::new());
        details.set_retry_info(error.retry_after());
        Status::with_error_details(code(error.reason()), error.to_string(), details)
    });
    let own =
        Status::with_error_details(Code::Ok, "", ErrorDetails::with_request_info(origin.request_id().as_str(), ""));
    let details = [SAME.details(), own.details()].concat();
    Status::with_details_and_metadata(SAME.code(), SAME.message(), details.into(), named(origin))
}

/// The status of a request that took too long.
#[must_use]
pub fn too_slow(origin: &Origin) -> Status {
    let details = ErrorDetails::with_error_info(ErrorReason::InvalidRequest.as_reason(), ERROR_DOMAIN, HashMap::new());
    // The protocol's own code for a request out of time, as 408 is over HTTP.
    with_details(Code::DeadlineExceeded, TOO_SLOW, details, origin)
}

/// The status of a request that needs an unsupported feature of its protocol.
#[must_use]
pub fn unimplemented(sentence: &str, origin: &Origin) -> Status {
    let details = ErrorDetails::with_error_info(ErrorReason::InvalidRequest.as_reason(), ERROR_DOMAIN, HashMap::new());
    with_details(Code::Unimplemented, sentence, details, origin)
}

/// The status of an unreadable message, which never reached a handler.
#[must_use]
pub fn unreadable_message(origin: &Origin) -> Status {
    const SENTENCE: &str = "The message is not the method's Protobuf type, is framed wrongly, or is too long.";
    with_reason(ErrorReason::InvalidRequest, SENTENCE, origin, None)
}
