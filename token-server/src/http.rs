//! The HTTP face: OAuth endpoints and public documents, on the same port as gRPC.
//!
//! One file per endpoint. A handler reads the request, hands it to the [`Issuer`], and writes the answer.

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

use crate::{client_authentication::basic, issuer::Issuer, metadata::path, origin::Origin, registration::Registrar};
use register::Registering;

/// What the endpoints share.
#[derive(Clone, Debug)]
struct Shared {
    issuer: Arc<Issuer>,
    /// `WWW-Authenticate` of a failed client authentication.
    challenge: HeaderValue,
}

impl Shared {
    fn new(issuer: Arc<Issuer>) -> Self {
        let challenge = basic::challenge(&issuer.metadata().issuer);
        Self { issuer, challenge }
    }
}

/// `POST /oauth/token` without a router, for whoever has found out that this is what a request asks for.
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

/// Every endpoint of the issuer over HTTP.
///
/// Where the issuer identifier has a path, the endpoints are found below it and at the root alike, so that it
/// does not matter whether a proxy in front takes the path away. Clients may register themselves where there is a
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

/// For programs with credentials, none of which is a web page: no CORS.
fn endpoint(post: MethodRouter<Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("POST, OPTIONS");
    post.options(async || public::options(ALLOW)).fallback(async |request: Request| wrong_method(&request, ALLOW))
}

/// OpenID Connect Core section 5.3.1, RFC 6749 section 3.1: by GET and by POST.
fn by_get_and_post<T: 'static>(answer: impl Handler<T, Shared>) -> MethodRouter<Shared> {
    const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, OPTIONS");
    routing::get(answer.clone())
        .post(answer)
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
