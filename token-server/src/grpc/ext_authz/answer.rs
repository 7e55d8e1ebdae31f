//! The layer's response → the proxy's action: admit with header fields that name the caller, or answer in the
//! layer's words.

use std::{fmt::Write as _, time::UNIX_EPOCH};

use http::{HeaderMap, StatusCode, header::CONTENT_TYPE, response::Parts};
use token_interceptor::caller::Caller;
use tonic::{Code, Status};
use tonic_types::pb;

use crate::envoy::{
    config::core::v3::{HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction},
    service::auth::v3::{CheckResponse, DeniedHttpResponse, OkHttpResponse, check_response::HttpResponse},
    r#type::v3::HttpStatus,
};

/// The prefix of every header field that describes the caller.
pub(super) const PREFIX: &str = "x-token-";

/// Admits the request. `claimed` are the client's own header fields that begin with [`PREFIX`]. They are
/// removed, so that the server behind the proxy can trust those that arrive.
pub(super) fn admitted(caller: Option<&Caller>, claimed: &[String]) -> CheckResponse {
    let fields = caller.map(fields).unwrap_or_default();
    // A proxy removes after it sets, so fields that are set are not removed.
    let is_set = |name: &String| fields.iter().any(|(set, _)| name.eq_ignore_ascii_case(set));
    let headers_to_remove = claimed.iter().filter(|name| !is_set(name)).cloned().collect();
    let headers = fields.into_iter().map(|(name, value)| field(name, value)).collect();
    let ok = OkHttpResponse { headers, headers_to_remove };
    CheckResponse { status: Some(status(Code::Ok)), http_response: Some(HttpResponse::OkResponse(ok)) }
}

/// Describes the caller. Each value is visible ASCII; other bytes, and `%`, are percent-encoded as in a URL.
fn fields(caller: &Caller) -> Vec<(&'static str, String)> {
    let scopes: Vec<String> = caller.scopes().map(encoded).collect();
    let expires = caller.expires_at().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut fields = vec![
        ("x-token-client-id", encoded(caller.client_id())),
        ("x-token-subject", encoded(caller.subject())),
        ("x-token-id", encoded(caller.token().token_id())),
        ("x-token-expires-at", expires.as_secs().to_string()),
    ];
    fields.extend((!scopes.is_empty()).then(|| ("x-token-scopes", scopes.join(" "))));
    fields.extend(caller.actors().first().map(|actor| ("x-token-actor", encoded(actor.subject()))));
    fields
}

fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Answers in place of the server behind the proxy.
///
/// A proxy answers a gRPC request with trailers only: status 200, and these header fields, among them
/// `grpc-status`. It would copy the body into `grpc-message`, which is already set.
pub(super) fn denied(head: &Parts, body: &[u8]) -> CheckResponse {
    let grpc = head.headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
    let code = grpc.unwrap_or_else(|| grpc_code(head.status));
    let http = grpc.map_or(head.status, http_status);
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: http.as_u16().into() }),
        headers: answered(&head.headers, grpc.is_some()),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    // OK would admit the request.
    let code = if code == Code::Ok { Code::Internal } else { code };
    CheckResponse { status: Some(status(code)), http_response: Some(HttpResponse::DeniedResponse(denied)) }
}

fn answered(headers: &HeaderMap, grpc: bool) -> Vec<HeaderValueOption> {
    // The proxy sets the content type of gRPC, which may be gRPC-Web.
    let told = headers.iter().filter(|(name, _)| !(grpc && *name == CONTENT_TYPE));
    told.filter_map(|(name, value)| Some(field(name.as_str(), value.to_str().ok()?.to_owned()))).collect()
}

fn field(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
    }
}

fn status(code: Code) -> pb::Status {
    pb::Status { code: code.into(), ..pb::Status::default() }
}

/// Returns the HTTP status that proxies and gRPC clients map to `code`.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::InvalidArgument
        | Code::DeadlineExceeded
        | Code::NotFound
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Returns the gRPC code for an HTTP status.
fn grpc_code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    }
}
