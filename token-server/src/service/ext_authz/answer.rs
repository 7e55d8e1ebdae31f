//! What came out of the layer → what the proxy does: let through, with header fields that say who calls; or answer in
//! the layer's words.

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

/// What every header field begins with that says who calls.
pub(super) const PREFIX: &str = "x-token-";

/// Lets the request through. `claimed` are header fields of the client's that begin with [`PREFIX`]: they go, so that
/// the server behind the proxy may believe those that arrive.
pub(super) fn admitted(caller: Option<&Caller>, claimed: &[String]) -> CheckResponse {
    let fields = caller.map(fields).unwrap_or_default();
    // A proxy removes after it has set, so what is set is not among what is removed.
    let is_set = |name: &String| fields.iter().any(|(set, _)| name.eq_ignore_ascii_case(set));
    let headers_to_remove = claimed.iter().filter(|name| !is_set(name)).cloned().collect();
    let headers = fields.into_iter().map(|(name, value)| field(name, value)).collect();
    let ok = OkHttpResponse { headers, headers_to_remove };
    CheckResponse { status: Some(status(Code::Ok)), http_response: Some(HttpResponse::OkResponse(ok)) }
}

/// Who calls. Each value in visible ASCII; other bytes, and `%`, percent-encoded as in a URL.
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
/// To a gRPC request a proxy gives an answer of trailers alone: status 200, and the header fields of this one, among
/// them `grpc-status`. It would put the body into `grpc-message`, which is here already.
pub(super) fn denied(head: &Parts, body: &[u8]) -> CheckResponse {
    let grpc = head.headers.get(Status::GRPC_STATUS).map(|code| Code::from_bytes(code.as_bytes()));
    let code = grpc.unwrap_or_else(|| grpc_code(head.status));
    let http = grpc.map_or(head.status, http_status);
    let denied = DeniedHttpResponse {
        status: Some(HttpStatus { code: http.as_u16().into() }),
        headers: answered(&head.headers, grpc.is_some()),
        body: String::from_utf8_lossy(body).into_owned(),
    };
    // OK would let the request through.
    let code = if code == Code::Ok { Code::Internal } else { code };
    CheckResponse { status: Some(status(code)), http_response: Some(HttpResponse::DeniedResponse(denied)) }
}

fn answered(headers: &HeaderMap, grpc: bool) -> Vec<HeaderValueOption> {
    // The content type of gRPC is the proxy's to say: it may be gRPC-Web.
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

/// The HTTP status that proxies and gRPC clients take for `code`.
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

/// The other way round.
fn grpc_code(status: StatusCode) -> Code {
    match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        _ => Code::Internal,
    }
}
