//! Cases that run in turns, so that a disturbance affects all of them.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use http::{Request, Response};
use tonic::body::Body;
use tower::Service;

/// Answers at once, so the measured cost is that of the layer around it.
#[derive(Clone)]
pub(crate) struct Nothing;

impl Service<Request<Body>> for Nothing {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(Body::empty())))
    }
}

pub(crate) fn nothing(request: Request<Body>) -> Response<Body> {
    finish(Nothing.call(request))
}

pub(crate) fn finish<T>(future: impl Future<Output = Result<T, Infallible>>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(output)) => output,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

/// The median of each case over many short rounds, for one of `per_round`.
pub(crate) fn medians<const N: usize>(
    rounds: usize,
    per_round: usize,
    cases: [&dyn Fn(usize) -> Duration; N],
) -> [Duration; N] {
    let mut samples = cases.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            samples.push(case(per_round));
        }
    }
    let count = u32::try_from(per_round).unwrap();
    samples.map(|mut samples| {
        samples.sort_unstable();
        samples.get(rounds / 2).copied().unwrap_or_default() / count
    })
}

/// Requests are made beforehand and answers dropped afterwards.
pub(crate) fn timed_calls<T>(
    count: usize,
    request: impl Fn() -> Request<Body>,
    call: impl Fn(Request<Body>) -> T,
) -> Duration {
    let requests: Vec<_> = (0..count).map(|_| request()).collect();
    let mut answers = Vec::with_capacity(count);
    let start = Instant::now();
    for request in requests {
        answers.push(call(request));
    }
    start.elapsed()
}
