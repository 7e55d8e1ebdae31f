//! The HTTP face: OAuth endpoints and public documents, on the same port as gRPC.
//!
//! One file per endpoint. A handler reads the request, hands it to the [`Issuer`], and writes the answer.

mod body;
mod error;
mod introspect;
mod parameters;
mod public;
mod revoke;
mod token;
mod user_info;

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    response::Response,
    routing::{self, MethodRouter},
};
use http::HeaderValue;

use crate::{client::basic, issuer::Issuer, metadata::path, origin::Origin};

/// What the endpoints share.
#[derive(Clone)]
struct Shared {
    issuer: Arc<Issuer>,
    /// `WWW-Authenticate` of a failed client authentication.
    challenge: HeaderValue,
}

/// Every endpoint of the issuer over HTTP.
///
/// Where the issuer identifier has a path, the endpoints are found below it and at the root alike, so that it
/// does not matter whether a proxy in front takes the path away.
pub fn router(issuer: Arc<Issuer>) -> Router {
    let identifier = issuer.metadata().issuer;
    let shared = Shared { issuer, challenge: basic::challenge(&identifier) };
    let mut router = endpoints();
    if let Some(prefix) = path_of(&identifier) {
        router = router
            .nest(&prefix, endpoints())
            // RFC 8414 section 3.1: the well-known part goes before the issuer's path.
            .route(&format!("{}{prefix}", path::OAUTH_METADATA), document(routing::get(public::oauth_metadata)));
    }
    router.with_state(shared)
}

fn endpoints() -> Router<Shared> {
    Router::new()
        .route(path::TOKEN, endpoint(routing::post(token::token)))
        .route(path::INTROSPECTION, endpoint(routing::post(introspect::introspect)))
        .route(path::REVOCATION, endpoint(routing::post(revoke::revoke)))
        .route(path::USER_INFO, user_info())
        .route(path::JWKS, document(routing::get(public::jwks)))
        .route(path::OAUTH_METADATA, document(routing::get(public::oauth_metadata)))
        .route(path::OPENID_CONFIGURATION, document(routing::get(public::openid_configuration)))
}

/// For programs with credentials, none of which is a web page: no CORS.
fn endpoint(post: MethodRouter<Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
    post.options(async || public::options(ALLOW)).fallback(async |request: Request| wrong_method(&request, ALLOW))
}

/// OpenID Connect Core section 5.3.1: by GET and by POST.
fn user_info() -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    routing::get(user_info::user_info)
        .post(user_info::user_info)
        .options(async || public::options(ALLOW))
        .fallback(async |request: Request| wrong_method(&request, ALLOW))
}

/// For everybody, web pages included. HEAD comes with GET.
fn document(get: MethodRouter<Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
    get.options(async || public::preflight(ALLOW)).fallback(async |request: Request| wrong_method(&request, ALLOW))
}

fn wrong_method(request: &Request, allow: HeaderValue) -> Response {
    error::wrong_method(allow, &Origin::of(request.headers(), request.extensions()))
}

/// The path of the issuer identifier without its final slash; `None` where it is just an origin.
fn path_of(identifier: &str) -> Option<String> {
    let url = url::Url::parse(identifier).ok()?;
    let path = url.path().trim_end_matches('/');
    // axum reads braces as captures.
    (!path.is_empty() && !path.contains(['{', '}'])).then(|| path.to_owned())
}
