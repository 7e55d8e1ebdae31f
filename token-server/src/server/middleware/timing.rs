//! Request durations: one histogram for each known path, created at startup.

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
use token_issuer::metadata::path;
use token_proto::POLICY;
use tower::{Layer, Service};

/// The name of the metric.
pub(crate) const NAME: &str = "token_server_request_duration_seconds";
/// The label for every other path. Callers choose paths, and must not be able to create metrics.
const OTHER: &str = "other";

/// A layer that measures from the request's head to the response's.
#[derive(Clone, Debug)]
pub(crate) struct Timing(Arc<Histograms>);

#[derive(Debug)]
struct Histograms {
    known: HashMap<&'static str, Histogram>,
    other: Histogram,
}

impl Timing {
    /// Creates a histogram for every method of the contract and every endpoint.
    pub(crate) fn new() -> Self {
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

/// A service whose responses are timed.
#[derive(Clone, Debug)]
pub(crate) struct Timed<S> {
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
    /// Records the duration on completion; a cancelled request is not recorded.
    pub(crate) struct TimedFuture<F> {
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
