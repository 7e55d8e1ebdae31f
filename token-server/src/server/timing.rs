//! How long requests take, by what they ask for: one histogram per known path, made at the start.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{Request, Response};
use metrics::{Histogram, histogram};
use pin_project_lite::pin_project;
use token_proto::POLICY;
use tower::{Layer, Service};

use crate::metadata::path;

/// The metric.
pub(crate) const NAME: &str = "token_server_request_duration_seconds";
/// What everything else is counted under: callers choose paths, and must not make up metrics.
const OTHER: &str = "other";

/// Measures from the request's head to the response's.
#[derive(Clone, Debug)]
pub(super) struct Timing(Arc<Histograms>);

#[derive(Debug)]
struct Histograms {
    known: HashMap<&'static str, Histogram>,
    other: Histogram,
}

impl Timing {
    /// Histograms for every method of the contract and every endpoint.
    pub(super) fn new() -> Self {
        let methods = POLICY.iter().map(|method| method.path.as_ref());
        let endpoints = [path::TOKEN, path::JWKS, path::OAUTH_METADATA, path::OPENID_CONFIGURATION];
        let known = methods.chain(endpoints).map(|path| (path, histogram!(NAME, "path" => path)));
        Self(Arc::new(Histograms { known: known.collect(), other: histogram!(NAME, "path" => OTHER) }))
    }
}

impl<S> Layer<S> for Timing {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Timed<S> {
        Timed { inner, histograms: Arc::clone(&self.0) }
    }
}

/// A service whose answers are timed.
#[derive(Clone, Debug)]
pub(super) struct Timed<S> {
    inner: S,
    histograms: Arc<Histograms>,
}

impl<S, A, B> Service<Request<A>> for Timed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = TimedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let histogram = self.histograms.known.get(request.uri().path()).unwrap_or(&self.histograms.other).clone();
        TimedFuture { inner: self.inner.call(request), started: Instant::now(), histogram }
    }
}

pin_project! {
    /// Records when it is done; a request that is given up is not recorded.
    pub(super) struct TimedFuture<F> {
        #[pin]
        inner: F,
        started: Instant,
        histogram: Histogram,
    }
}

impl<F: Future> Future for TimedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let output = ready!(this.inner.poll(cx));
        this.histogram.record(this.started.elapsed());
        Poll::Ready(output)
    }
}
