//! Bodies: reads a request's, up to a limit and by its content type. Marks a response's as uncacheable.

use axum::{body::Body, extract::Request};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA},
};
use http_body_util::{BodyExt as _, Limited};
use serde::Serialize;
use serde_json::{Map, Value};
use token_issuer::{
    error::IssueError,
    origin::{Origin, REQUEST_ID},
};

use super::parameters::{self, Parameters};

/// The longest body that is read, in bytes: several times the longest valid request.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;

/// Parameters that must never appear in a URI, which logs and histories keep. RFC 6749 section 2.3.1.
const SENSITIVE: [&str; 5] = ["client_secret", "client_assertion", "token", "subject_token", "actor_token"];

/// Reads the parameters of a POST whose headers have been taken out.
///
/// # Errors
///
/// `invalid_request` for another content type, a body that does not match its type, or credentials in the
/// query; [`IssueError::BodyTooLarge`].
pub(super) async fn parameters(headers: &HeaderMap, request: Request) -> Result<Parameters, IssueError> {
    refuse_sensitive_query(request.uri().query())?;
    let read = match media_type(headers) {
        Some(kind) if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") => Parameters::from_form,
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => Parameters::from_json,
        Some(_) | None => {
            return Err(IssueError::invalid_request(
                "The content type must be application/x-www-form-urlencoded or application/json.",
            ));
        }
    };
    read(&collect(request.into_body()).await?)
}

/// Reads the one JSON object of a request whose headers have been taken out.
///
/// # Errors
///
/// `invalid_request` for another content type, or a body that does not match its type;
/// [`IssueError::BodyTooLarge`].
pub(super) async fn object(headers: &HeaderMap, request: Request) -> Result<Map<String, Value>, IssueError> {
    if !media_type(headers).is_some_and(|kind| kind.eq_ignore_ascii_case("application/json")) {
        return Err(IssueError::invalid_request("The content type must be application/json."));
    }
    parameters::object(&collect(request.into_body()).await?)
}

/// Builds a JSON response that no cache may keep. RFC 6749 section 5.1.
pub(super) fn answer(body: &impl Serialize, origin: &Origin) -> Result<Response<Body>, IssueError> {
    let written = serde_json::to_vec(body).map_err(|error| IssueError::Internal(error.into()))?;
    Ok(json(written.into(), origin))
}

/// Builds the same response from serialized JSON.
pub(super) fn json(json: Bytes, origin: &Origin) -> Response<Body> {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    never_cached(response.headers_mut(), origin);
    response
}

/// Adds the headers of a response that holds a token or describes one.
pub(super) fn never_cached(headers: &mut HeaderMap, origin: &Origin) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(REQUEST_ID, origin.request_id().header_value());
}

fn refuse_sensitive_query(query: Option<&str>) -> Result<(), IssueError> {
    let Some(query) = query else { return Ok(()) };
    let found = url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| SENSITIVE.contains(&&*name));
    if found { Err(IssueError::invalid_request("Credentials must not be sent in the URI.")) } else { Ok(()) }
}

/// Returns the media type without its parameters, or `None` if it is absent or repeated.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?.split(';').next().map(str::trim),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

async fn collect(body: Body) -> Result<Bytes, IssueError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(IssueError::BodyTooLarge { bytes_max: BODY_BYTES_MAX })
        }
        Err(error) if is_overload(&*error) => Err(IssueError::overloaded()),
        Err(_) => Err(IssueError::invalid_request("The body is incomplete.")),
    }
}

/// Returns true if reading the body stopped because the peer has too many bytes in flight.
fn is_overload(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    chain.any(|error| {
        error.downcast_ref::<tonic::Status>().is_some_and(|status| status.code() == tonic::Code::ResourceExhausted)
    })
}
