//! A token, the ways to verify it, and the minimum cost of verifying.

use std::{
    cell::RefCell,
    hint::black_box,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
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
use tower::{Layer as _, Service as _};

use crate::turns::{Nothing, finish, medians, nothing, timed_calls};

const PATH: &str = "/inventory.v1.InventoryService/GetItem";

pub(crate) struct Verification {
    token: String,
    verifier: Verifier,
    protected: RefCell<Authorization<Nothing>>,
    public_key: UnparsedPublicKey<Vec<u8>>,
    signature: Vec<u8>,
}

impl Verification {
    pub(crate) fn new() -> Self {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let issuer =
            TestIssuer::with_key("https://issuer.example", SigningKey::from_der(Algorithm::Es256, &der).unwrap());
        let token = issuer.token().scope("inventory.read").claim("exp", 4_000_000_000_u64).sign();
        let builder = Verifier::builder().issuer(issuer.trusted()).clock(SystemClock::shared());
        let verifier = builder.build().unwrap();
        let requirement = Requirement::any_token().with_all_scopes(["inventory.read"]);
        let method =
            MethodPolicy::new(PATH.into(), "inventory".into(), Access::Require(requirement), MethodKind::Unary);
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

    pub(crate) fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = PATH.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        headers.insert("user-agent", HeaderValue::from_static("bench"));
        headers.insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        // With the extensions that tonic's transport adds.
        request.extensions_mut().insert(0_u8);
        request
    }

    /// Only ring.
    pub(crate) fn bare(&self) {
        let signed = self.token.rsplit_once('.').unwrap().0;
        self.public_key.verify(black_box(signed.as_bytes()), &self.signature).unwrap();
    }

    pub(crate) fn new_token(&self) {
        let token = UnverifiedToken::new(black_box(&self.token));
        black_box(self.verifier.verify(token, "inventory", self.verifier.now()).unwrap());
    }

    /// A request without a token, which the layer refuses.
    pub(crate) fn bare_request(&self) -> Request<Body> {
        let mut request = self.request();
        request.headers_mut().remove("authorization");
        request
    }

    pub(crate) fn whole_layer(&self, request: Request<Body>) -> Response<impl Sized> {
        finish(self.protected.borrow_mut().call(request))
    }
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
    pub(crate) bare: Duration,
    pub(crate) new_token: Duration,
    pub(crate) whole_layer: Duration,
    pub(crate) refused: Duration,
}

impl Figures {
    pub(crate) fn measure() -> Self {
        let case = Verification::new();
        let [bare, new_token] = medians(201, 50, [&|n| timed(n, || case.bare()), &|n| timed(n, || case.new_token())]);
        let (request, bare_request) = (|| case.request(), || case.bare_request());
        let layer = |request| case.whole_layer(request);
        let [without, with] =
            medians(401, 200, [&|n| timed_calls(n, request, nothing), &|n| timed_calls(n, request, layer)]);
        let [bare_without, refused] =
            medians(401, 200, [&|n| timed_calls(n, bare_request, nothing), &|n| timed_calls(n, bare_request, layer)]);
        let (whole_layer, refused) = (with.saturating_sub(without), refused.saturating_sub(bare_without));
        Self { bare, new_token, whole_layer, refused }
    }
}
