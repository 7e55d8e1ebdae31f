//! What attaching a token costs, beside the least that it can: one snapshot load and one header clone.
//!
//! `cargo bench -p token-interceptor --bench attach`. The table at the end is the result: criterion's own
//! figures are for comparing with the run before.

#![allow(clippy::unwrap_used, reason = "a benchmark")]
#![allow(missing_docs, reason = "criterion's macros write undocumented functions")]
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::{
    cell::RefCell,
    convert::Infallible,
    future::{Future, Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group};
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use token_interceptor::{
    attach::{Attach, TokenLayer},
    danger,
    refresh::FreshToken,
    source::{StaticToken, TokenRequest},
};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};
use tonic::{GrpcMethod, body::Body};
use tower::{Layer as _, Service};

const PATH: &str = "/inventory.v1.InventoryService/GetItem";

/// Answers at once: whatever the layer costs is its own.
#[derive(Clone)]
struct Nothing;

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

struct Bench {
    bare: ArcSwap<HeaderValue>,
    token: FreshToken,
    attach: RefCell<Attach<Nothing>>,
    /// Keeps the token's task alive, as in a program.
    _runtime: tokio::runtime::Runtime,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        // As long as an ES256 access token usually is.
        let value = "e".repeat(600);
        let requirement = Requirement { all_scopes: vec!["inventory.read".into()].into(), ..Requirement::any_token() };
        let method = MethodPolicy {
            path: PATH.into(),
            audience: "inventory".into(),
            access: Access::Require(requirement),
            kind: MethodKind::Unary,
        };
        let layer = TokenLayer::new(StaticToken::new(&value).unwrap())
            .policy(&[method])
            .any_destination(danger::AllowPlaintext);
        let token = layer.token(TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]));
        runtime.block_on(token.get()).unwrap();
        let mut header = HeaderValue::try_from(format!("Bearer {value}")).unwrap();
        header.set_sensitive(true);
        Self { bare: ArcSwap::from_pointee(header), token, attach: layer.layer(Nothing).into(), _runtime: runtime }
    }

    /// The least: no clock, so no expiry.
    fn floor(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, HeaderValue::clone(&self.bare.load()));
    }

    fn attached(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.token.now().unwrap().into_header());
    }

    fn whole_layer(&self, request: Request<Body>) -> Response<impl Sized> {
        finish(self.attach.borrow_mut().call(request))
    }
}

/// As a generated client makes it.
fn request() -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\x06\n\x04sp-1"))));
    *request.uri_mut() = PATH.parse().unwrap();
    *request.headers_mut() = headers();
    request.extensions_mut().insert(GrpcMethod::new("inventory.v1.InventoryService", "GetItem"));
    request
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers
}

fn nothing(request: Request<Body>) -> Response<Body> {
    finish(Nothing.call(request))
}

fn finish<T>(future: impl Future<Output = Result<T, Infallible>>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(output)) => output,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => unreachable!("the token is there: nothing waits"),
    }
}

fn criterion_cases(criterion: &mut Criterion) {
    let bench = Bench::new();
    let batch = BatchSize::SmallInput;
    let mut group = criterion.benchmark_group("attach");
    group.bench_function("snapshot load and header clone (floor)", |b| {
        b.iter_batched_ref(headers, |headers| bench.floor(headers), batch);
    });
    group.bench_function("token in hand, checked, attached", |b| {
        b.iter_batched_ref(headers, |headers| bench.attached(headers), batch);
    });
    group.bench_function("no layer", |b| b.iter_batched(request, nothing, batch));
    group.bench_function("whole layer", |b| b.iter_batched(request, |request| bench.whole_layer(request), batch));
    group.finish();
}

/// The median over many short rounds, in which the cases take turns: what disturbs one disturbs all.
fn medians(rounds: usize, per_round: usize, cases: &[&dyn Fn(usize) -> Duration]) -> Vec<Duration> {
    let mut samples = vec![Vec::new(); cases.len()];
    for _ in 0..rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            samples.push(case(per_round));
        }
    }
    let count = u32::try_from(per_round).unwrap();
    let median = |mut samples: Vec<Duration>| {
        samples.sort_unstable();
        samples.get(rounds / 2).copied().unwrap_or_default() / count
    };
    samples.into_iter().map(median).collect()
}

fn timed_headers(count: usize, attach: impl Fn(&mut HeaderMap)) -> Duration {
    let mut all: Vec<_> = (0..count).map(|_| headers()).collect();
    let start = Instant::now();
    for headers in &mut all {
        attach(headers);
    }
    start.elapsed()
}

/// Requests are made beforehand and answers dropped afterwards.
fn timed_calls<T>(count: usize, call: impl Fn(Request<Body>) -> T) -> Duration {
    let requests: Vec<_> = (0..count).map(|_| request()).collect();
    let mut answers = Vec::with_capacity(count);
    let start = Instant::now();
    for request in requests {
        answers.push(call(request));
    }
    start.elapsed()
}

fn table() {
    let bench = Bench::new();
    let measured = medians(
        401,
        200,
        &[
            &|n| timed_headers(n, |headers| bench.floor(headers)),
            &|n| timed_headers(n, |headers| bench.attached(headers)),
            &|n| timed_calls(n, nothing),
            &|n| timed_calls(n, |request| bench.whole_layer(request)),
        ],
    );
    let &[floor, attached, without, with] = measured.as_slice() else { return };
    let layer = with.saturating_sub(without);
    println!("\nmedians, cases taking turns");
    println!("  snapshot load and header clone {floor:>9.0?}");
    println!("  token checked and attached     {attached:>9.0?}   goal ≤ 100 ns");
    println!("  call without the layer         {without:>9.0?}");
    println!("  whole layer, ready to replay   {layer:>9.0?}");
}

criterion_group!(benches, criterion_cases);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    table();
}
