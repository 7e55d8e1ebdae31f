//! Audit back pressure. Decisions wait while the audit stream is full. While it cannot be written, they are
//! rejected or made without a record.
//!
//! This layer sits in front of the services, so no thread blocks: requests that decide nothing are always
//! answered.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Method, Request, Response};
use metrics::{Counter, counter};
use pin_project_lite::pin_project;
use token_issuer::{error::IssueError, metadata::path};
use token_proto::{
    admin::v1::{audit_service_server, client_service_server, key_service_server},
    token::v1::token_service_server,
};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{concurrency_limit::SHED, drained_body::DrainedBody, protocol::Protocol};
use crate::{
    config::AuditFailure,
    connection,
    envoy::service::auth::v3::authorization_server,
    telemetry::{Condition, Lines},
};

/// Services whose methods all make decisions.
const SERVICES: [&str; 5] = [
    token_service_server::SERVICE_NAME,
    client_service_server::SERVICE_NAME,
    key_service_server::SERVICE_NAME,
    audit_service_server::SERVICE_NAME,
    authorization_server::SERVICE_NAME,
];
/// Endpoints that make decisions, at the root or below the issuer's path. [`path::REGISTRATION`] matches
/// registration.
const ENDPOINTS: [&str; 4] = [path::TOKEN, path::INTROSPECTION, path::REVOCATION, path::USER_INFO];
/// The maximum number of requests that wait for room. Far below the limit of concurrent requests, so that
/// others proceed.
const WAITING_MAX: usize = 256;
/// The time within which the rest of a rejected request must arrive.
const REST_MAX: Duration = Duration::from_secs(5);

/// A layer that makes [`Recordable`].
#[derive(Clone)]
pub(crate) struct RecordableLayer {
    /// The audit stream, if there is one.
    lines: Option<Lines>,
    failure: AuditFailure,
    waiting: Arc<AtomicUsize>,
    overload: Counter,
    unwritable: Counter,
}

impl RecordableLayer {
    pub(crate) fn new(lines: Option<Lines>, failure: AuditFailure) -> Self {
        let unwritable = counter!(SHED, "why" => "audit");
        unwritable.absolute(0);
        Self { lines, failure, waiting: Arc::default(), overload: counter!(SHED, "why" => "overload"), unwritable }
    }

    /// Waits until a decision may be made. `Err` says why none may be made.
    async fn admit(&self, lines: &Lines) -> Result<(), IssueError> {
        let _place = Permit::among(&self.waiting).ok_or_else(|| {
            self.overload.increment(1);
            IssueError::overloaded()
        })?;
        match (lines.room().await, self.failure) {
            (Condition::Unwritable, AuditFailure::Refuse) => {
                self.unwritable.increment(1);
                Err(IssueError::Unavailable("the audit stream cannot be written".into()))
            }
            (Condition::Unwritable, AuditFailure::Continue) | (Condition::Writable | Condition::Full(_), _) => Ok(()),
        }
    }
}

impl std::fmt::Debug for RecordableLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordableLayer").field("failure", &self.failure).finish_non_exhaustive()
    }
}

/// A permit to wait, released on drop.
struct Permit<'a>(&'a AtomicUsize);

impl<'a> Permit<'a> {
    fn among(waiting: &'a AtomicUsize) -> Option<Self> {
        let permit = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(permit)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S> Layer<S> for RecordableLayer {
    type Service = Recordable<S>;

    fn layer(&self, inner: S) -> Recordable<S> {
        Recordable { inner, layer: self.clone() }
    }
}

/// A service whose decisions are made only if they can be audited.
#[derive(Clone, Debug)]
pub(crate) struct Recordable<S> {
    inner: S,
    layer: RecordableLayer,
}

impl<S> Service<Request<Body>> for Recordable<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RecordableFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let waits = self.layer.lines.as_ref().filter(|lines| !lines.is_writable() && is_decision(&request));
        let Some(lines) = waits.cloned() else {
            return RecordableFuture::Direct { inner: self.inner.call(request) };
        };
        let (mut inner, layer) = (self.inner.clone(), self.layer.clone());
        RecordableFuture::Waiting {
            inner: Box::pin(async move {
                match layer.admit(&lines).await {
                    Ok(()) => inner.call(request).await,
                    Err(error) => {
                        let protocol = Protocol::of(request.headers());
                        let origin = connection::origin(request.headers(), request.extensions());
                        DrainedBody::of(request.into_body(), REST_MAX).await;
                        Ok(protocol.refused(&error, &origin))
                    }
                }
            }),
        }
    }
}

/// Returns true if the request asks for a decision, which must be audited.
fn is_decision<B>(request: &Request<B>) -> bool {
    let path = request.uri().path();
    let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map(|(service, _)| service);
    if service.is_some_and(|service| SERVICES.contains(&service)) {
        return true;
    }
    request.method() != Method::OPTIONS
        && (ENDPOINTS.iter().any(|endpoint| path.ends_with(endpoint)) || path.contains(path::REGISTRATION))
}

type Waiting = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

pin_project! {
    /// The response in progress.
    #[project = Projected]
    pub(crate) enum RecordableFuture<F> {
        Direct { #[pin] inner: F },
        Waiting { inner: Waiting },
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for RecordableFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Projected::Direct { inner } => inner.poll(cx),
            Projected::Waiting { inner } => inner.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use token_proto::POLICY;

    use super::*;
    use crate::telemetry::stalled;

    fn request(path: &str) -> Request<Body> {
        Request::post(path).body(Body::empty()).unwrap()
    }

    async fn status(service: &mut impl Service<Request<Body>, Response = Response<Body>, Error = Infallible>) -> u16 {
        service.call(request(path::TOKEN)).await.unwrap().status().as_u16()
    }

    fn service(
        lines: Lines,
        failure: AuditFailure,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> {
        let answer = |_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) };
        RecordableLayer::new(Some(lines), failure).layer(tower::service_fn(answer))
    }

    /// Every method except those that return public documents.
    #[test]
    fn every_method_and_endpoint_that_decides_is_known() {
        for method in POLICY.iter() {
            let public = ["GetIssuer", "ListKeys", "WatchTrust"].iter().any(|name| method.path.ends_with(name));
            assert_eq!(is_decision(&request(&method.path)), !public, "{}", method.path);
        }
        assert!(is_decision(&request("/envoy.service.auth.v3.Authorization/Check")));
        for path in [path::TOKEN, path::INTROSPECTION, path::REVOCATION, path::USER_INFO, "/oauth/register/x"] {
            assert!(is_decision(&request(path)), "{path}");
            assert!(is_decision(&request(&format!("/sso{path}"))), "{path}");
        }
        for path in [path::JWKS, path::OAUTH_METADATA, path::AUTHORIZATION, "/healthz", "/grpc.health.v1.Health/Check"]
        {
            assert!(!is_decision(&request(path)), "{path}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_decision_waits_for_room_and_a_document_does_not() {
        let stalled = stalled();
        stalled.fill();
        let mut service = service(stalled.lines(), AuditFailure::Continue);
        assert!(service.call(request(path::JWKS)).now_or_never().is_some());
        let mut decision = Box::pin(service.call(request(path::TOKEN)));
        assert!(futures_util::poll!(decision.as_mut()).is_pending());
        stalled.take_all();
        assert_eq!(decision.await.unwrap().status(), 200);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unwritable_stream_refuses_where_that_is_asked_for() {
        let stalled = stalled();
        stalled.fill();
        let (mut continuing, mut refusing) =
            (service(stalled.lines(), AuditFailure::Continue), service(stalled.lines(), AuditFailure::Refuse));
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(status(&mut continuing).await, 200);
        assert_eq!(status(&mut refusing).await, 503);
        stalled.take_all();
        assert_eq!(status(&mut refusing).await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_are_bounded_in_number() {
        let stalled = stalled();
        stalled.fill();
        let mut service = service(stalled.lines(), AuditFailure::Continue);
        let mut waiting: Vec<_> = (0..WAITING_MAX).map(|_| Box::pin(service.call(request(path::TOKEN)))).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        assert_eq!(status(&mut service).await, 429);
        drop(waiting);
        stalled.take_all();
        assert_eq!(status(&mut service).await, 200);
    }
}
