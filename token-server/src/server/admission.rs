//! Requests at once, bounded in number and each in time: what is too much is refused at once and waits nowhere.
//!
//! A request counts until the head of its answer: a stream that lasts for hours takes no place. Probes are never
//! refused, so that a busy server is not taken for a dead one.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::CONTENT_TYPE};
use metrics::{Counter, counter};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::{config::Limits, http as oauth, origin::Origin, service::status};

/// Requests that were refused here, by why.
const SHED: &str = "token_server_requests_shed_total";
/// Probes over gRPC ...
const HEALTH: &str = "/grpc.health.v1.Health/";
/// ... and over HTTP, and what tells operators why the others are refused.
const OPERATIONS: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Admits a bounded number of requests.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    at_once_max: usize,
    time_max: Duration,
    under_way: Arc<AtomicUsize>,
    overload: Counter,
    slow: Counter,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        let shed = |why| {
            let counter = counter!(SHED, "why" => why);
            counter.absolute(0);
            counter
        };
        Self(Arc::new(Shared {
            at_once_max: limits.requests_at_once,
            time_max: limits.request_timeout,
            under_way: Arc::default(),
            overload: shed("overload"),
            slow: shed("too_slow"),
        }))
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Admitting<S> {
        Admitting { inner, shared: Arc::clone(&self.0) }
    }
}

/// A service that does not do more at once than it should.
#[derive(Clone, Debug)]
pub(super) struct Admitting<S> {
    inner: S,
    shared: Arc<Shared>,
}

/// A request's place among those under way; given back when dropped.
struct Place(Arc<AtomicUsize>);

impl Shared {
    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.under_way));
        (self.under_way.fetch_add(1, Ordering::Relaxed) < self.at_once_max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<S, A> Service<Request<A>> for Admitting<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = AdmittedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let face = Face::of(&request);
        let place = self.shared.place();
        if place.is_none() && !is_probe(request.uri().path()) {
            self.shared.overload.increment(1);
            let origin = Origin::of(request.headers(), request.extensions());
            return AdmittedFuture::Refused { answer: Some(face.overloaded(&origin)) };
        }
        // Made for the answer that is hardly ever given: a request that is too slow is named by its own ID.
        let named = request.headers().contains_key(crate::origin::REQUEST_ID);
        let origin = named.then(|| Box::new(Origin::of(request.headers(), request.extensions())));
        AdmittedFuture::Admitted {
            inner: self.inner.call(request),
            time: None,
            time_max: self.shared.time_max,
            late: Some(Late { face, origin, slow: self.shared.slow.clone() }),
            _place: place,
        }
    }
}

fn is_probe(path: &str) -> bool {
    path.starts_with(HEALTH) || OPERATIONS.contains(&path)
}

/// Which of the two faces is spoken to.
#[derive(Clone, Copy)]
enum Face {
    Grpc,
    Http,
}

impl Face {
    fn of<A>(request: &Request<A>) -> Self {
        let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
        if content_type.starts_with(b"application/grpc") { Self::Grpc } else { Self::Http }
    }

    fn overloaded(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::overloaded(origin).into_http(),
            Self::Http => oauth::overloaded(origin).map(Body::new),
        }
    }

    fn too_slow(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::too_slow(origin).into_http(),
            Self::Http => oauth::too_slow(origin).map(Body::new),
        }
    }
}

/// What is answered when the time is over.
struct Late {
    face: Face,
    origin: Option<Box<Origin>>,
    slow: Counter,
}

impl Late {
    fn answer(self) -> Response<Body> {
        self.slow.increment(1);
        let unnamed = || Box::new(Origin::of(&http::HeaderMap::new(), &http::Extensions::new()));
        self.face.too_slow(&self.origin.unwrap_or_else(unnamed))
    }
}

pin_project! {
    /// The inner answer, or a refusal.
    #[project = Admitted]
    pub(super) enum AdmittedFuture<F> {
        Refused { answer: Option<Response<Body>> },
        Admitted {
            #[pin]
            inner: F,
            // Begun when there is something to wait for: hardly ever.
            #[pin]
            time: Option<Sleep>,
            time_max: Duration,
            late: Option<Late>,
            _place: Option<Place>,
        },
    }
}

impl<F, E> Future for AdmittedFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Admitted::Refused { answer } => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Admitted::Admitted { inner, mut time, time_max, late, .. } => {
                if let Poll::Ready(answer) = inner.poll(cx) {
                    return Poll::Ready(answer);
                }
                if time.is_none() {
                    time.set(Some(tokio::time::sleep(*time_max)));
                }
                if time.as_pin_mut().is_some_and(|time| time.poll(cx).is_pending()) {
                    return Poll::Pending;
                }
                late.take().map_or(Poll::Pending, |late| Poll::Ready(Ok(late.answer())))
            }
        }
    }
}
