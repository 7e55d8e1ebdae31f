//! A gRPC status in the form of this protocol: an HTTP status, and a JSON object with the same code, sentence
//! and details.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};
use serde::Serialize;
use serde_json::Value;
use token_issuer::origin::Origin;
use token_proto::token::v1::ErrorReason;
use tonic::{Code, Status, body::Body};
use tonic_types::pb;

use super::{Encoding, contract::Contract, message::to_json};
use crate::grpc::status;

/// The prefix of the type of a detail, which this protocol leaves out.
const TYPE_URL: &str = "type.googleapis.com/";

#[derive(Serialize)]
pub(super) struct Error<'a> {
    code: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    details: Vec<Detail>,
}

#[derive(Serialize)]
struct Detail {
    #[serde(rename = "type")]
    kind: String,
    /// The Protobuf message in Base64 without padding.
    value: String,
    /// The same message in JSON, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    debug: Option<Value>,
}

impl<'a> Error<'a> {
    pub(super) fn of(status: &'a Status) -> Self {
        // Our own details: they can always be read.
        let details = <pb::Status as prost::Message>::decode(status.details()).unwrap_or_default().details;
        let details = details.into_iter().map(|detail| {
            let kind = detail.type_url.strip_prefix(TYPE_URL).unwrap_or(&detail.type_url).to_owned();
            let descriptor = Contract::embedded().and_then(|contract| contract.message(&kind));
            let debug = descriptor.and_then(|kind| to_json(kind, &detail.value).ok());
            Detail { kind, value: STANDARD_NO_PAD.encode(&detail.value), debug }
        });
        Self { code: name(status.code()), message: status.message(), details: details.collect() }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Returns the answer with this status, and with its metadata as header fields.
pub(crate) fn of_status(status: &Status) -> Response<Body> {
    let mut response = Response::new(Body::new(axum::body::Body::from(Error::of(status).to_json())));
    *response.status_mut() = http_status(status.code());
    *response.headers_mut() = without_form(status.metadata().clone().into_headers());
    shown(&mut response, Encoding::Json);
    response
}

/// Returns the answer to a request that breaks a rule of HTTP or of this protocol. HTTP has a status of its
/// own for some of them.
pub(crate) fn refused(http: StatusCode, sentence: &str, origin: &Origin) -> Response<Body> {
    let status = status::with_reason(ErrorReason::InvalidRequest, sentence, origin, None);
    let mut response = of_status(&status);
    *response.status_mut() = http;
    response
}

/// Returns the answer to a streaming request: one frame, which ends the stream with the error.
pub(super) fn of_stream(status: &Status, content_type: HeaderValue) -> Response<Body> {
    /// The flag of the last frame.
    const END: u8 = 2;
    let end = serde_json::json!({ "error": Error::of(status) }).to_string();
    let length = u32::try_from(end.len()).unwrap_or_default().to_be_bytes();
    let frame = [&[END][..], &length, end.as_bytes()].concat();
    let mut response = Response::new(Body::new(axum::body::Body::from(frame)));
    *response.headers_mut() = without_form(status.metadata().clone().into_headers());
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

/// Removes the fields that describe the gRPC answer. A length of its own would contradict the new body.
pub(super) fn without_form(mut headers: HeaderMap) -> HeaderMap {
    let of_grpc: Vec<HeaderName> = headers.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in of_grpc.iter().chain(&[CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING]) {
        headers.remove(name);
    }
    headers
}

/// Sets the header fields of every answer.
pub(super) fn shown(response: &mut Response<Body>, encoding: Encoding) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, encoding.content_type());
    // An answer may hold a token or a secret, and depends on the caller.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Returns the name of a code. <https://connectrpc.com/docs/protocol#error-codes>
const fn name(code: Code) -> &'static str {
    match code {
        Code::Cancelled => "canceled",
        // Only an error has a name.
        Code::Unknown | Code::Ok => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

/// Returns the HTTP status of a code, by the same table.
fn http_status(code: Code) -> StatusCode {
    match code {
        // 499, which no RFC defines.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::Unknown | Code::Ok | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/operations/json.md");

    /// The table of the protocol's page, and of ours.
    #[test]
    fn codes_have_the_names_and_statuses_of_the_protocol() {
        let table = [
            ("canceled", 499),
            ("unknown", 500),
            ("invalid_argument", 400),
            ("deadline_exceeded", 504),
            ("not_found", 404),
            ("already_exists", 409),
            ("permission_denied", 403),
            ("resource_exhausted", 429),
            ("failed_precondition", 400),
            ("aborted", 409),
            ("out_of_range", 400),
            ("unimplemented", 501),
            ("internal", 500),
            ("unavailable", 503),
            ("data_loss", 500),
            ("unauthenticated", 401),
        ];
        for (number, expected) in (1..).zip(table) {
            let code = Code::from_i32(number);
            assert_eq!((name(code), http_status(code).as_u16()), expected, "{code:?}");
            let (name, status) = (format!("`{}`", expected.0), format!("| {}", expected.1));
            let row = PAGE.lines().find(|line| line.starts_with('|') && line.contains(&name));
            assert!(row.is_some_and(|row| row.contains(&status)), "docs/operations/json.md: {name} {status}");
        }
    }
}
