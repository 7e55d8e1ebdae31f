//! The project's own server layer, with the keys and revocations of this process instead of the network. It
//! guards the admin services and the port for proxies.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use arc_swap::ArcSwap;
use axum::{body::Body, extract::Request, response::Response};
use token_interceptor::{
    clock::Clock,
    key_set::KeySet,
    layer::AuthorizationLayer,
    policy::{Policy, ServedPolicy},
    revocation::Revocations,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::{FILE_DESCRIPTOR_SET, POLICY, token::v1::ErrorReason};
use tower::{Layer, Service};

use super::ServeError;
use crate::{
    config::IssuerUrl,
    key::{KeyRing, PublishedKeys},
    origin::Origin,
    own_tokens::TOKEN_BYTES_MAX,
    service::status,
};

/// Admits callers with a token that satisfies the annotations of the called method.
#[derive(Clone, Debug)]
pub(super) struct Guard(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    trusted: Trusted,
    keys: KeyRing,
    current: ArcSwap<Current>,
}

/// The parts of the layer that do not change with the keys.
#[derive(Debug)]
struct Trusted {
    issuer: IssuerUrl,
    revoked: Revocations,
    policy: ServedPolicy,
    clock: Arc<dyn Clock>,
}

/// The layer for the current keys.
#[derive(Debug)]
struct Current {
    keys: Arc<PublishedKeys>,
    layer: AuthorizationLayer,
}

impl Guard {
    /// Creates a guard that enforces `policy`.
    pub(super) fn new(
        issuer: &IssuerUrl,
        keys: &KeyRing,
        revoked: Revocations,
        clock: Arc<dyn Clock>,
        policy: ServedPolicy,
    ) -> Result<Self, ServeError> {
        let trusted = Trusted { issuer: issuer.clone(), revoked, policy, clock };
        let current = ArcSwap::from_pointee(trusted.with(keys.published())?);
        Ok(Self(Arc::new(Shared { trusted, keys: keys.clone(), current })))
    }
}

/// Returns the policy of this project's own `services`. Each of their methods must declare one.
pub(super) fn own_policy(services: &[&str]) -> Result<ServedPolicy, ServeError> {
    let declared: Vec<_> = POLICY.iter().filter(|method| is_of(&method.path, services)).cloned().collect();
    let policy = Policy::new(&declared).map_err(ServeError::internal)?.without_public_health();
    policy.serves(FILE_DESCRIPTOR_SET, services).map_err(ServeError::internal)
}

fn is_of(path: &str, services: &[&str]) -> bool {
    path.trim_start_matches('/').split_once('/').is_some_and(|(service, _)| services.contains(&service))
}

impl Shared {
    /// Returns the layer for the current keys.
    fn layer(&self) -> Result<AuthorizationLayer, ServeError> {
        let keys = self.keys.published();
        let current = self.current.load();
        if Arc::ptr_eq(&current.keys, &keys) {
            return Ok(current.layer.clone());
        }
        let renewed = self.trusted.with(keys)?;
        let layer = renewed.layer.clone();
        self.current.store(Arc::new(renewed));
        Ok(layer)
    }
}

impl Trusted {
    fn with(&self, keys: Arc<PublishedKeys>) -> Result<Current, ServeError> {
        let set = KeySet::from_jwks(&keys.jwks_json).map_err(ServeError::internal)?;
        let issuer = TrustedIssuer::fixed(self.issuer.as_str(), set).map_err(ServeError::internal)?;
        let issuer = issuer.revocations(self.revoked.clone());
        let verifier =
            Verifier::builder().issuer(issuer).token_bytes_max(TOKEN_BYTES_MAX).clock(Arc::clone(&self.clock)).build();
        let layer = AuthorizationLayer::new(verifier.map_err(ServeError::internal)?, self.policy.clone());
        Ok(Current { keys, layer })
    }
}

impl<S> Layer<S> for Guard {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service behind the guard.
#[derive(Clone, Debug)]
pub(super) struct Guarded<S> {
    inner: S,
    guard: Guard,
}

impl<S> Service<Request> for Guarded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let guarded = self.guard.0.layer().map(|layer| layer.layer(self.inner.clone()));
        let guarded = guarded.map_err(|error| (error, Origin::of(request.headers(), request.extensions())));
        Box::pin(async move {
            match guarded {
                Ok(mut guarded) => Ok(guarded.call(request).await?.map(Body::new)),
                // Fails closed.
                Err((error, origin)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "cannot build the verifier of the guarded services; rejecting all requests"
                    );
                    let sentence = "The server cannot check the caller's token.";
                    Ok(status::with_reason(ErrorReason::Internal, sentence, &origin, None).into_http())
                }
            }
        })
    }
}
