//! What verifying costs, beside the bare signature check of the same token in the same run.
//!
//! `cargo bench -p token-interceptor --bench verify`. The table at the end is the result: criterion's own
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

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{BatchSize, Criterion, criterion_group};
use http::{HeaderValue, Request, Response};
use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
use token_interceptor::{
    clock::SystemClock,
    danger,
    layer::{Authorization, AuthorizationLayer},
    policy::Policy,
    signature::{Algorithm, SigningKey},
    test_util::TestIssuer,
    token::UnverifiedToken,
    verify::Verifier,
};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};
use tonic::body::Body;
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
    token: String,
    verifier: Verifier,
    protected: RefCell<Authorization<Nothing>>,
    public_key: UnparsedPublicKey<Vec<u8>>,
    signature: Vec<u8>,
}

impl Bench {
    fn new() -> Self {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let issuer =
            TestIssuer::with_key("https://issuer.example", SigningKey::from_der(Algorithm::Es256, &der).unwrap());
        let token = issuer.token().scope("inventory.read").claim("exp", 4_000_000_000_u64).sign();
        let builder = Verifier::builder().issuer(issuer.trusted()).clock(SystemClock::shared());
        let verifier = builder.build().unwrap();
        let requirement = Requirement { all_scopes: vec!["inventory.read".into()].into(), ..Requirement::any_token() };
        let method = MethodPolicy {
            path: PATH.into(),
            audience: "inventory".into(),
            access: Access::Require(requirement),
            kind: MethodKind::Unary,
        };
        let policy = Policy::new(&[method]).unwrap().unchecked(danger::UncheckedPolicy);
        let layer = AuthorizationLayer::new(verifier.clone(), policy);
        let pair = ring::signature::EcdsaKeyPair::from_pkcs8(
            &ring::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            &der,
            &ring::rand::SystemRandom::new(),
        );
        let signature = URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap();
        Self {
            public_key: UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.unwrap().public_key().as_ref().to_vec()),
            protected: layer.layer(Nothing).into(),
            token,
            verifier,
            signature,
        }
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = PATH.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("user-agent", HeaderValue::from_static("bench"));
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        // As tonic's transport leaves them: with extensions of its own.
        request.extensions_mut().insert(0_u8);
        request
    }

    /// ring alone.
    fn bare(&self) {
        let signed = self.token.rsplit_once('.').unwrap().0;
        self.public_key.verify(black_box(signed.as_bytes()), &self.signature).unwrap();
    }

    fn new_token(&self) {
        let token = UnverifiedToken::new(black_box(&self.token));
        black_box(self.verifier.verify(token, "inventory", self.verifier.now()).unwrap());
    }

    fn whole_layer(&self, request: Request<Body>) -> Response<impl Sized> {
        finish(self.protected.borrow_mut().call(request))
    }
}

fn nothing(request: Request<Body>) -> Response<Body> {
    finish(Nothing.call(request))
}

fn finish<T>(future: impl Future<Output = Result<T, Infallible>>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(output)) => output,
        Poll::Ready(Err(never)) => match never {},
        Poll::Pending => unreachable!("nothing here waits"),
    }
}

fn criterion_cases(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut group = criterion.benchmark_group("verify");
    group.bench_function("bare ring ES256 verification (floor)", |b| b.iter(|| bench.bare()));
    group.bench_function("new token", |b| b.iter(|| bench.new_token()));
    let batch = BatchSize::SmallInput;
    group.bench_function("no layer", |b| b.iter_batched(|| bench.request(), nothing, batch));
    group.bench_function("token seen before, whole layer", |b| {
        b.iter_batched(|| bench.request(), |request| bench.whole_layer(request), batch);
    });
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

fn timed(count: usize, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        work();
    }
    start.elapsed()
}

/// Requests are made beforehand and answers dropped afterwards.
fn timed_calls<T>(bench: &Bench, count: usize, call: impl Fn(Request<Body>) -> T) -> Duration {
    let requests: Vec<_> = (0..count).map(|_| bench.request()).collect();
    let mut answers = Vec::with_capacity(count);
    let start = Instant::now();
    for request in requests {
        answers.push(call(request));
    }
    start.elapsed()
}

fn table() {
    let bench = Bench::new();
    let cold = medians(201, 50, &[&|n| timed(n, || bench.bare()), &|n| timed(n, || bench.new_token())]);
    let warm = medians(
        401,
        200,
        &[&|n| timed_calls(&bench, n, nothing), &|n| timed_calls(&bench, n, |request| bench.whole_layer(request))],
    );
    let (&[bare, new], &[without, with]) = (cold.as_slice(), warm.as_slice()) else { return };
    let ratio = new.as_secs_f64() / bare.as_secs_f64();
    let layer = with.saturating_sub(without);
    println!("\nmedians, cases taking turns");
    println!("  bare ring ES256 verification   {bare:>9.0?}   1.000");
    println!("  new token, every check         {new:>9.0?}   {ratio:.3}   goal ≤ 1.05");
    println!("  service without the layer      {without:>9.0?}");
    println!(
        "  token seen before, whole layer {layer:>9.0?}   {:.4}   goal ≤ 250 ns",
        layer.as_secs_f64() / bare.as_secs_f64()
    );
}

criterion_group!(benches, criterion_cases);

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    table();
}
