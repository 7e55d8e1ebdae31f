//! An issuer's metadata and key set over HTTP, with every misbehaviour.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use serde_json::json;
use token_interceptor::test_util::TestIssuer;

/// The behaviour of the key endpoint.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    /// Answers with this document.
    Served(String),
    /// Never answers.
    Hangs,
    /// Answers with this status and no keys.
    Fails(StatusCode),
    /// Redirects the client to this URL.
    Redirects(String),
}

/// The location of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metadata {
    OpenId,
    Rfc8414,
    /// The metadata name another issuer.
    OfAnother,
}

#[derive(Debug)]
struct Shared {
    keys: Mutex<Keys>,
    metadata: Metadata,
    identifier: String,
    path: String,
    base: String,
    fetches: AtomicUsize,
}

#[derive(Clone, Debug)]
pub(crate) struct HttpIssuer {
    shared: Arc<Shared>,
    pub(crate) signer: TestIssuer,
}

impl HttpIssuer {
    /// Starts it on loopback. `path` follows the address in the issuer identifier: empty, or `/tenant`.
    pub(crate) async fn start(path: &str, metadata: Metadata) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve(listener, path, metadata)
    }

    pub(crate) fn serve(listener: tokio::net::TcpListener, path: &str, metadata: Metadata) -> Self {
        let base = format!("http://{}", listener.local_addr().unwrap());
        let issuer = Self::new(base, path, metadata);
        let router = issuer.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    /// Describes an issuer that the test serves at `base` by itself.
    pub(crate) fn new(base: String, path: &str, metadata: Metadata) -> Self {
        let identifier = format!("{base}{path}");
        let signer = TestIssuer::new(&identifier);
        let keys = Mutex::new(Keys::Served(signer.jwks()));
        let path = path.to_owned();
        let shared = Shared { keys, metadata, identifier, path, base, fetches: AtomicUsize::new(0) };
        Self { shared: Arc::new(shared), signer }
    }

    pub(crate) fn router(&self) -> Router {
        let path = &self.shared.path;
        let document = match self.shared.metadata {
            Metadata::OpenId | Metadata::OfAnother => format!("{path}/.well-known/openid-configuration"),
            Metadata::Rfc8414 => format!("/.well-known/oauth-authorization-server{path}"),
        };
        let router = Router::new().route(&document, get(describe)).route("/keys", get(keys));
        router.with_state(Arc::clone(&self.shared))
    }

    pub(crate) fn identifier(&self) -> &str {
        &self.shared.identifier
    }

    pub(crate) fn base(&self) -> &str {
        &self.shared.base
    }

    pub(crate) fn set_keys(&self, keys: Keys) {
        *self.shared.keys.lock().unwrap() = keys;
    }

    /// Returns the number of key set requests.
    pub(crate) fn fetches(&self) -> usize {
        self.shared.fetches.load(Ordering::SeqCst)
    }
}

async fn describe(State(shared): State<Arc<Shared>>) -> Response {
    let issuer = match shared.metadata {
        Metadata::OpenId | Metadata::Rfc8414 => shared.identifier.clone(),
        Metadata::OfAnother => format!("{}/", shared.identifier),
    };
    axum::Json(json!({ "issuer": issuer, "jwks_uri": format!("{}/keys", shared.base) })).into_response()
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let keys = shared.keys.lock().unwrap().clone();
    match keys {
        Keys::Served(document) => document.into_response(),
        Keys::Hangs => std::future::pending().await,
        Keys::Fails(status) => status.into_response(),
        Keys::Redirects(to) => Redirect::temporary(&to).into_response(),
    }
}
