//! The HTTP protocol: OAuth endpoints and public documents, on the same port as gRPC.
//!
//! Each endpoint has its own file. Its handler reads the request, calls the [`Issuer`], and writes the
//! response.

mod authorize;
mod body;
mod error;
mod introspect;
mod parameters;
mod public;
mod register;
mod revoke;
mod token;
mod user_info;

pub(crate) use body::BODY_BYTES_MAX;
pub(crate) use error::{not_conforming, overloaded, refused, too_slow};

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler,
    response::Response,
    routing::{self, MethodRouter},
};
use http::HeaderValue;
use token_interceptor::http_url::HttpUrl;
use token_issuer::{issuer::Issuer, metadata::path, registration::Registrar};

use crate::connection;
use crate::convert;
use register::Registering;

/// The state that the endpoints share.
#[derive(Clone, Debug)]
struct Shared {
    issuer: Arc<Issuer>,
    /// The `WWW-Authenticate` value for a failed client authentication.
    challenge: HeaderValue,
}

impl Shared {
    fn new(issuer: Arc<Issuer>) -> Self {
        let challenge = convert::challenge(&issuer.metadata().issuer);
        Self { issuer, challenge }
    }
}

/// `POST /oauth/token` without a router, for a caller that has already matched the path.
#[derive(Clone, Debug)]
pub(crate) struct TokenEndpoint(Shared);

impl TokenEndpoint {
    pub(crate) fn new(issuer: Arc<Issuer>) -> Self {
        Self(Shared::new(issuer))
    }

    pub(crate) fn answer(self, request: Request) -> impl Future<Output = Response> + Send + 'static {
        token::token(State(self.0), request)
    }
}

/// Returns a router with every HTTP endpoint of the issuer.
///
/// If the issuer identifier has a path, the endpoints are served both below that path and at the root. A
/// proxy in front may therefore strip the path or keep it. Clients can register themselves if there is a
/// `registrar`.
pub fn router(issuer: Arc<Issuer>, registrar: Option<Arc<Registrar>>) -> Router {
    let identifier = issuer.metadata().issuer;
    let shared = Shared::new(issuer);
    let registering = registrar.map(|registrar| Registering { registrar, shared: shared.clone() });
    let all = || match &registering {
        Some(registering) => endpoints().merge(registration(registering.clone())),
        None => endpoints(),
    };
    let mut router = all();
    if let Some(prefix) = path_of(&identifier) {
        router = router
            .nest(&prefix, all())
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
        .route(path::USER_INFO, by_get_and_post(user_info::user_info))
        .route(path::AUTHORIZATION, by_get_and_post(authorize::authorize))
        .route(path::JWKS, document(routing::get(public::jwks)))
        .route(path::OAUTH_METADATA, document(routing::get(public::oauth_metadata)))
        .route(path::OPENID_CONFIGURATION, document(routing::get(public::openid_configuration)))
}

/// RFC 7591 section 3, RFC 7592 section 2.
fn registration(registering: Registering) -> Router<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, DELETE, OPTIONS");
    const ALLOW_POST: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
    let register = routing::post(register::register)
        .options(async || public::options(ALLOW_POST))
        .fallback(async |request: Request| wrong_method(&request, ALLOW_POST));
    let manage = routing::get(register::read)
        .put(register::update)
        .delete(register::delete)
        .options(async || public::options(ALLOW))
        .fallback(async |request: Request| wrong_method(&request, ALLOW));
    Router::new().route(path::REGISTRATION, register).route(path::REGISTERED, manage).with_state(registering)
}

/// An endpoint for programs with credentials. Web pages do not call it, so it has no CORS.
fn endpoint(post: MethodRouter<Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
    post.options(async || public::options(ALLOW)).fallback(async |request: Request| wrong_method(&request, ALLOW))
}

/// A method router for GET and POST. OpenID Connect Core section 5.3.1, RFC 6749 section 3.1.
fn by_get_and_post<T: 'static>(answer: impl Handler<T, Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    routing::get(answer.clone())
        .post(answer)
        .options(async || public::options(ALLOW))
        .fallback(async |request: Request| wrong_method(&request, ALLOW))
}

/// A document that every caller may read, web pages included. GET implies HEAD.
fn document(get: MethodRouter<Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");
    get.options(async || public::preflight(ALLOW)).fallback(async |request: Request| wrong_method(&request, ALLOW))
}

fn wrong_method(request: &Request, allow: HeaderValue) -> Response {
    error::wrong_method(allow, &connection::origin(request.headers(), request.extensions()))
}

/// Returns the issuer identifier's path without its final slash, or `None` if it has no path.
pub(crate) fn path_of(identifier: &str) -> Option<String> {
    let url = HttpUrl::parse(identifier).ok()?;
    let path = url.path().trim_end_matches('/');
    // axum treats braces as captures.
    (!path.is_empty() && !path.contains(['{', '}'])).then(|| path.to_owned())
}
