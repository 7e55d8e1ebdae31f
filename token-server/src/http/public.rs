//! The public documents: key set and metadata. RFC 7517 section 5, RFC 8414 section 3, OpenID Connect
//! Discovery.
//!
//! Web pages of any origin may read them (CORS). They are cacheable and carry an ETag, so revalidation is
//! cheap.

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    },
};
use ring::digest;
use serde::Serialize;
use token_issuer::issuer::Issuer;

use super::Shared;

const ANY: HeaderValue = HeaderValue::from_static("*");

pub(super) async fn jwks(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let keys = shared.issuer.keys().published();
    respond(&shared.issuer, &headers, keys.jwks_json.clone(), &keys.etag)
}

pub(super) async fn oauth_metadata(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    render(&shared.issuer, &headers, &shared.issuer.metadata().oauth())
}

pub(super) async fn openid_configuration(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    render(&shared.issuer, &headers, &shared.issuer.metadata().openid())
}

fn render(issuer: &Issuer, headers: &HeaderMap, document: &impl Serialize) -> Response {
    let Ok(json) = serde_json::to_vec(document) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let hash = digest::digest(&digest::SHA256, &json);
    let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(hash.as_ref().get(..16).unwrap_or_default()));
    respond(issuer, headers, json.into(), &etag)
}

fn respond(issuer: &Issuer, headers: &HeaderMap, json: Bytes, etag: &str) -> Response {
    let mut response = if matches_etag(headers, etag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Response::new(Body::from(json))
    };
    let max_age = format!("public, max-age={}", issuer.key_set_max_age().as_secs());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.extend(HeaderValue::try_from(etag).map(|etag| (ETAG, etag)));
    headers.extend(HeaderValue::try_from(max_age).map(|max_age| (CACHE_CONTROL, max_age)));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag"));
    response
}

/// Returns true if `If-None-Match` matches. RFC 9110 section 13.1.2: a list, compared weakly, or `*`.
fn matches_etag(headers: &HeaderMap, etag: &str) -> bool {
    let values = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|candidate| candidate == "*" || candidate.strip_prefix("W/").unwrap_or(candidate) == etag)
}

/// The response to a CORS preflight request.
pub(super) fn preflight(allow: HeaderValue) -> Response {
    let mut response = options(allow.clone());
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allow);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, ANY);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

/// The response to OPTIONS, with the supported methods. RFC 9110 section 9.3.7.
pub(super) fn options(allow: HeaderValue) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().insert(ALLOW, allow);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etag_is_found_in_a_list_weak_or_by_the_star() {
        let matches = |value: &'static str| {
            matches_etag(&HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]), "\"a\"")
        };
        assert!(matches("\"a\"") && matches("\"b\", W/\"a\"") && matches("*"));
        assert!(!matches("\"b\"") && !matches("a") && !matches(""));
    }
}
