//! Limits concurrent requests and the time that each may take. Requests over the limit are rejected
//! immediately, never queued. Requests that queued too long for an overloaded worker are rejected when they
//! reach the front.
//!
//! A request counts until the head of its response, so a stream that lasts for hours holds no permit. Probes
//! are never rejected; otherwise a busy server would look dead.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, Request, Response};
use metrics::{Counter, counter};
use pin_project_lite::pin_project;
use token_issuer::origin::Origin;
use tokio::time::Sleep;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::server::{
    middleware::{drained_body::DrainedBody, protocol::Protocol},
    transport::overload::should_shed,
};
use crate::{config::Limits, connection, connection::ConnectionInfo};

/// The counter of rejected requests, by reason.
pub(crate) const SHED: &str = "token_server_requests_shed_total";
/// Probes over gRPC ...
const HEALTH: &str = "/grpc.health.v1.Health/";
/// ... and over HTTP, and the metrics that explain rejections to operators.
const OPERATIONS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// A layer that limits concurrent requests.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyLimitLayer(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    at_once_max: usize,
    time_max: Duration,
    queue_time_max: Duration,
    under_way: AtomicUsize,
    overload: Counter,
    late: Counter,
    slow: Counter,
}

impl ConcurrencyLimitLayer {
    pub(crate) fn new(limits: &Limits) -> Self {
        let shed = |why| {
            let counter = counter!(SHED, "why" => why);
            counter.absolute(0);
            counter
        };
        Self(Arc::new(Permits {
            at_once_max: limits.requests_at_once,
            time_max: limits.request_timeout,
            queue_time_max: limits.queue_time_max,
            under_way: AtomicUsize::new(0),
            overload: shed("overload"),
            late: shed("late"),
            slow: shed("too_slow"),
        }))
    }
}

impl<S> Layer<S> for ConcurrencyLimitLayer {
    type Service = ConcurrencyLimit<S>;

    fn layer(&self, inner: S) -> ConcurrencyLimit<S> {
        ConcurrencyLimit { inner, permits: Arc::clone(&self.0) }
    }
}

/// A service with a limit on concurrent requests.
#[derive(Clone, Debug)]
pub(crate) struct ConcurrencyLimit<S> {
    inner: S,
    permits: Arc<Permits>,
}

/// A permit for a request in flight, released on drop.
struct Permit(Arc<Permits>);

impl Permit {
    fn among(permits: &Arc<Permits>) -> Option<Self> {
        let permit = Self(Arc::clone(permits));
        (permits.under_way.fetch_add(1, Ordering::Relaxed) < permits.at_once_max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S, A> Service<Request<A>> for ConcurrencyLimit<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
    A: http_body::Body,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ConcurrencyLimitFuture<S::Future, A>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let (protocol, is_probe) = (Protocol::of(request.headers()), is_probe(request.uri().path()));
        let permit = Permit::among(&self.permits);
        // Only a rejection needs the origin here, and rejections are rare: no ID is generated for one.
        let named = request.headers().contains_key(token_issuer::origin::REQUEST_ID);
        let origin = named.then(|| Box::new(connection::origin(request.headers(), request.extensions())));
        let time_max = time_max(protocol, request.headers(), self.permits.time_max);
        let refused = |answer, body| ConcurrencyLimitFuture::Refused {
            answer: Some(answer),
            rest: DrainedBody::of(body, time_max),
        };
        let refusal = Refusal { protocol, origin, permits: Arc::clone(&self.permits) };
        // Another transport does not report when it reads.
        let read = request.extensions().get::<ConnectionInfo>().map(|line| line.activity.last_read());
        if !is_probe && read.is_some_and(|read| should_shed(read, self.permits.queue_time_max)) {
            return refused(refusal.too_late(), request.into_body());
        }
        if !is_probe && permit.is_none() {
            return refused(refusal.too_many(), request.into_body());
        }
        ConcurrencyLimitFuture::Admitted {
            inner: self.inner.call(request),
            time: None,
            time_max,
            refusal: Some(refusal),
            _place: permit,
        }
    }
}

/// Returns the time that a request may take: the server's limit, or the caller's timeout if that is shorter.
/// The `grpc-timeout` field has at most eight digits and a unit (gRPC over HTTP/2, "Requests").
fn time_max(protocol: Protocol, headers: &HeaderMap, max: Duration) -> Duration {
    let asked = || {
        let text = headers.get("grpc-timeout")?.to_str().ok()?;
        let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let value: u64 = digits.parse().ok()?;
        Some(match unit {
            "H" => Duration::from_secs(value * 3600),
            "M" => Duration::from_secs(value * 60),
            "S" => Duration::from_secs(value),
            "m" => Duration::from_millis(value),
            "u" => Duration::from_micros(value),
            "n" => Duration::from_nanos(value),
            _ => return None,
        })
    };
    if protocol == Protocol::Grpc { asked().map_or(max, |asked| asked.min(max)) } else { max }
}

fn is_probe(path: &str) -> bool {
    path.starts_with(HEALTH) || OPERATIONS.contains(&path)
}

/// A response in place of the service's.
struct Refusal {
    protocol: Protocol,
    origin: Option<Box<Origin>>,
    permits: Arc<Permits>,
}

impl Refusal {
    /// Too many requests are in flight.
    fn too_many(self) -> Response<Body> {
        self.permits.overload.increment(1);
        self.protocol.overloaded(&self.origin())
    }

    /// The request queued too long.
    fn too_late(self) -> Response<Body> {
        self.permits.late.increment(1);
        self.protocol.overloaded(&self.origin())
    }

    /// The request is taking too long.
    fn too_slow(self) -> Response<Body> {
        self.permits.slow.increment(1);
        self.protocol.too_slow(&self.origin())
    }

    fn origin(&self) -> Cow<'_, Origin> {
        let unnamed = || Cow::Owned(connection::unknown_origin());
        self.origin.as_deref().map_or_else(unnamed, Cow::Borrowed)
    }
}

pin_project! {
    /// The inner response, or a rejection.
    #[project = Admitted]
    pub(crate) enum ConcurrencyLimitFuture<F, A> {
        Refused { answer: Option<Response<Body>>, #[pin] rest: DrainedBody<A> },
        Admitted {
            #[pin]
            inner: F,
            // Started only when there is something to wait for, which is rare.
            #[pin]
            time: Option<Sleep>,
            time_max: Duration,
            refusal: Option<Refusal>,
            _place: Option<Permit>,
        },
    }
}

impl<F, E, A> Future for ConcurrencyLimitFuture<F, A>
where
    F: Future<Output = Result<Response<Body>, E>>,
    A: http_body::Body,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Admitted::Refused { answer, rest } => {
                ready!(rest.poll(cx));
                answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer)))
            }
            Admitted::Admitted { inner, mut time, time_max, refusal, .. } => {
                if let Poll::Ready(answer) = inner.poll(cx) {
                    return Poll::Ready(answer);
                }
                if time.is_none() {
                    time.set(Some(tokio::time::sleep(*time_max)));
                }
                if time.as_pin_mut().is_some_and(|time| time.poll(cx).is_pending()) {
                    return Poll::Pending;
                }
                // Taken once: a completed future is not polled again.
                refusal.take().map_or(Poll::Pending, |refusal| Poll::Ready(Ok(refusal.too_slow())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use http::{HeaderValue, header::CONTENT_TYPE};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::{sync::mpsc, time::advance};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;
    use crate::server::transport::overload::tests::{rest, work};
    use token_issuer::origin::Peer;

    /// Returns the response to a request that waits that long, and if its service was called.
    async fn after(wait: Duration, path: &str) -> (Response<Body>, bool) {
        after_with(wait, path, Body::empty()).await
    }

    async fn after_with(wait: Duration, path: &str, body: Body) -> (Response<Body>, bool) {
        let begun = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&begun);
        let inner = tower::service_fn(move |_: Request<Body>| {
            counting.fetch_add(1, Ordering::Relaxed);
            async { Ok::<_, Infallible>(Response::new(Body::empty())) }
        });
        let mut service = ConcurrencyLimitLayer::new(&Limits::default()).layer(inner);
        let line = ConnectionInfo::new(Peer::UNKNOWN, false);
        let request = Request::post(path).header(CONTENT_TYPE, "application/grpc").header("x-request-id", "late");
        let request = request.extension(line).body(body).unwrap();
        advance(wait).await;
        let answer = service.call(request).await.unwrap();
        (answer, begun.load(Ordering::Relaxed) > 0)
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_overloaded_worker_comes_to_too_late_is_refused_without_being_begun() {
        rest().await;
        work().await;
        let (answer, begun) = after(Duration::from_secs(1), "/m2m.token.v1.TokenService/IssueToken").await;
        assert_eq!(answer.headers()["grpc-status"], "8");
        assert_eq!(answer.headers()["x-request-id"], "late");
        assert!(!begun);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_refused_is_answered_when_it_has_come_whole() {
        rest().await;
        work().await;
        let (sender, frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let body = Body::new(StreamBody::new(ReceiverStream::new(frames)));
        let mut answer = Box::pin(after_with(Duration::from_secs(1), "/m2m.token.v1.TokenService/IssueToken", body));
        for _ in 0..10 {
            assert!(futures_util::poll!(answer.as_mut()).is_pending());
        }
        drop(sender);
        let (answer, begun) = answer.await;
        assert_eq!((&answer.headers()["grpc-status"], begun), (&HeaderValue::from_static("8"), false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_comes_to_in_time_is_not() {
        rest().await;
        work().await;
        assert!(after(Duration::from_millis(10), "/m2m.token.v1.TokenService/IssueToken").await.1);
    }

    #[test]
    fn callers_deadline_holds_where_it_is_shorter() {
        let max = Duration::from_secs(30);
        let allowed = |protocol, value: &str| {
            time_max(protocol, &HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), value.parse().unwrap())]), max)
        };
        for (value, expected) in [
            ("5S", Duration::from_secs(5)),
            ("100m", Duration::from_millis(100)),
            ("7u", Duration::from_micros(7)),
            ("9n", Duration::from_nanos(9)),
            ("1M", max),
            ("99999999H", max),
        ] {
            assert_eq!(allowed(Protocol::Grpc, value), expected, "{value}");
        }
        for wrong in ["", "S", "5", "5s", "-5S", "999999999S", "5 S", "+5S"] {
            assert_eq!(allowed(Protocol::Grpc, wrong), max, "{wrong}");
        }
        assert_eq!(allowed(Protocol::Http, "5S"), max);
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_never_is() {
        rest().await;
        work().await;
        assert!(after(Duration::from_secs(1), "/grpc.health.v1.Health/Check").await.1);
    }
}
