//! A cached token, the ways to attach it to a call, and the minimum cost of attaching.

use std::{
    cell::RefCell,
    hint::black_box,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    caller::Caller,
    danger,
    layer::AuthorizationLayer,
    refresh::FreshToken,
    source::{AccessToken, IssuedToken, SourceError, StaticToken, TokenRequest, TokenSource},
    test_util::TestIssuer,
};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement};
use tonic::{GrpcMethod, body::Body};
use tower::{Layer as _, Service as _};

use crate::turns::{Nothing, finish, medians, nothing, timed_calls};

/// The methods of the policy whose client is cloned.
const METHODS: usize = 200;
const PATH: &str = "/inventory.v1.InventoryService/GetItem";

/// Exchanges any token at once, for one that lives long.
struct Exchange(String);

#[tonic::async_trait]
impl TokenSource for Exchange {
    async fn fetch(&self, _: &TokenRequest) -> Result<IssuedToken, SourceError> {
        Ok(IssuedToken::new(AccessToken::new(&self.0).unwrap(), Duration::from_secs(3600)))
    }
}

/// Returns the caller of a service behind the server's layer.
fn caller() -> Caller {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "shop", Requirement::any_token());
    let (sender, seen) = std::sync::mpsc::channel();
    let service = tower::service_fn(move |request: Request<Body>| {
        sender.send(request.extensions().get::<Caller>().cloned()).unwrap();
        std::future::ready(Ok(Response::new(Body::empty())))
    });
    let token = issuer.token().audience("shop").sign();
    let request = Request::builder().header(AUTHORIZATION, format!("Bearer {token}")).body(Body::empty());
    finish(layer.layer(service).call(request.unwrap()));
    seen.recv().unwrap().unwrap()
}

pub(crate) struct Attaching {
    bare: ArcSwap<HeaderValue>,
    token: FreshToken,
    attach: RefCell<Attach<Nothing>>,
    /// Keeps the token's task alive, as in a program.
    _runtime: tokio::runtime::Runtime,
}

/// As long as an ES256 access token usually is.
fn token() -> String {
    "e".repeat(600)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn method(path: String) -> MethodPolicy {
    let requirement = Requirement::any_token().with_all_scopes(["inventory.read"]);
    MethodPolicy::new(path.into(), "inventory".into(), Access::Require(requirement), MethodKind::Unary)
}

impl Attaching {
    /// Makes nothing else, as instructions are counted here: the state of the heap changes the cost of
    /// memory.
    pub(crate) fn new() -> Self {
        let (runtime, value) = (runtime(), token());
        let layer = AttachLayer::new(StaticToken::new(&value).unwrap()).policy(&[method(PATH.to_owned())]);
        let token = layer.token(TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]));
        runtime.block_on(token.get()).unwrap();
        let mut header = HeaderValue::try_from(format!("Bearer {value}")).unwrap();
        header.set_sensitive(true);
        Self {
            bare: ArcSwap::from_pointee(header),
            token,
            attach: layer.any_destination(danger::AllowPlaintext).layer(Nothing).into(),
            _runtime: runtime,
        }
    }

    /// The minimum: no clock, so no expiry.
    pub(crate) fn floor(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, HeaderValue::clone(&self.bare.load()));
    }

    pub(crate) fn attached(&self, headers: &mut HeaderMap) {
        headers.insert(AUTHORIZATION, self.token.now().unwrap().into_header());
    }

    pub(crate) fn whole_layer(&self, request: Request<Body>) -> Response<impl Sized> {
        finish(self.attach.borrow_mut().call(request))
    }
}

/// A channel whose policy has many methods. Programs clone it for each call.
pub(crate) struct Large(
    Attach<Nothing>,
    #[expect(dead_code, reason = "keeps the tasks alive")] tokio::runtime::Runtime,
);

impl Large {
    pub(crate) fn new() -> Self {
        let runtime = runtime();
        let policy: Vec<_> = (0..METHODS).map(|number| method(format!("{PATH}{number}"))).collect();
        let layer = AttachLayer::new(StaticToken::new(&token()).unwrap()).policy(&policy);
        Self(runtime.block_on(async { layer.any_destination(danger::AllowPlaintext).layer(Nothing) }), runtime)
    }

    pub(crate) fn cloned(&self) {
        black_box(self.0.clone());
    }
}

/// A channel that exchanges the token of its caller. It has done so before.
struct OnBehalf {
    attach: RefCell<Attach<Nothing>>,
    caller: Caller,
    _runtime: tokio::runtime::Runtime,
}

impl OnBehalf {
    fn new() -> Self {
        let (runtime, caller) = (runtime(), caller());
        let layer = AttachLayer::new(Exchange(token())).policy(&[method(PATH.to_owned())]).on_behalf_of_caller();
        let mut attach = runtime.block_on(async { layer.any_destination(danger::AllowPlaintext).layer(Nothing) });
        let Ok(_) = runtime.block_on(attach.call(request_of(&caller)));
        Self { attach: attach.into(), caller, _runtime: runtime }
    }

    fn whole_layer(&self, request: Request<Body>) -> Response<impl Sized> {
        finish(self.attach.borrow_mut().call(request))
    }
}

/// Returns a request as a generated client makes it.
pub(crate) fn request() -> Request<Body> {
    let mut request = Request::new(Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\x06\n\x04sp-1"))));
    *request.uri_mut() = PATH.parse().unwrap();
    *request.headers_mut() = headers();
    request.extensions_mut().insert(GrpcMethod::new("inventory.v1.InventoryService", "GetItem"));
    request
}

/// Returns the same of a handler that serves `caller`.
fn request_of(caller: &Caller) -> Request<Body> {
    let mut request = request();
    request.extensions_mut().insert(caller.clone());
    request
}

pub(crate) fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert("te", HeaderValue::from_static("trailers"));
    headers.insert("content-type", HeaderValue::from_static("application/grpc"));
    headers
}

fn timed_headers(count: usize, attach: impl Fn(&mut HeaderMap)) -> Duration {
    let mut all: Vec<_> = (0..count).map(|_| headers()).collect();
    let start = Instant::now();
    for headers in &mut all {
        attach(headers);
    }
    start.elapsed()
}

fn timed(count: usize, mut work: impl FnMut()) -> Duration {
    let start = Instant::now();
    for _ in 0..count {
        work();
    }
    start.elapsed()
}

/// The cost of one operation of each kind.
pub(crate) struct Figures {
    pub(crate) floor: Duration,
    pub(crate) attached: Duration,
    pub(crate) whole_layer: Duration,
    pub(crate) on_behalf: Duration,
    pub(crate) cloned: Duration,
}

impl Figures {
    pub(crate) fn measure() -> Self {
        // Each group is made when its turn comes, as a used heap makes memory dearer.
        let case = Attaching::new();
        let [floor, attached, without, with] = medians(
            401,
            200,
            [
                &|n| timed_headers(n, |headers| case.floor(headers)),
                &|n| timed_headers(n, |headers| case.attached(headers)),
                &|n| timed_calls(n, request, nothing),
                &|n| timed_calls(n, request, |request| case.whole_layer(request)),
            ],
        );
        let (on_behalf, large) = (OnBehalf::new(), Large::new());
        let for_caller = || request_of(&on_behalf.caller);
        let [behalf_without, behalf_with, cloned] = medians(
            401,
            200,
            [
                &|n| timed_calls(n, for_caller, nothing),
                &|n| timed_calls(n, for_caller, |request| on_behalf.whole_layer(request)),
                &|n| timed(n, || large.cloned()),
            ],
        );
        let (whole_layer, on_behalf) = (with.saturating_sub(without), behalf_with.saturating_sub(behalf_without));
        Self { floor, attached, whole_layer, on_behalf, cloned }
    }
}
