//! The gallery of forged tokens: generated, as a data file, and against the layer.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{collections::BTreeSet, convert::Infallible};

use http::{Request, Response};
use serde_json::Value;
use token_interceptor::{
    key_set::KeySet,
    layer::AuthorizationLayer,
    test_util::{TestIssuer, assert_refuses_all_forgeries, gallery},
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::policy::Requirement;
use tonic::body::Body;
use tower::Layer as _;

const PUBLISHED: &str = include_str!("../testdata/forgeries.json");

fn verify(verifier: &Verifier, token: &Value) -> Result<(), &'static str> {
    let token = UnverifiedToken::new(token.as_str().unwrap());
    verifier.verify(token, "inventory", verifier.now()).map(drop).map_err(|error| error.reason().as_reason())
}

/// Uses the machine's own clock, as verifiers in other languages do.
#[tokio::test]
async fn the_published_gallery_gets_the_verdicts_that_it_names() {
    let published: Value = serde_json::from_str(PUBLISHED).unwrap();
    let keys = KeySet::from_jwks(published["jwks"].to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.skipped()), (1, 3));
    let trusted = TrustedIssuer::fixed(published["issuer"].as_str().unwrap(), keys).unwrap();
    let verifier = Verifier::builder().issuer(trusted).build().unwrap();
    for good in published["good"].as_array().unwrap() {
        assert_eq!(verify(&verifier, &good["token"]), Ok(()), "{}", good["name"]);
    }
    for forgery in published["forgeries"].as_array().unwrap() {
        let reason = forgery["reason"].as_str().unwrap();
        assert_eq!(verify(&verifier, &forgery["token"]), Err(reason), "{}", forgery["name"]);
    }
}

#[test]
fn the_published_gallery_is_complete() {
    let published: Value = serde_json::from_str(PUBLISHED).unwrap();
    let names = published["forgeries"].as_array().unwrap().iter().map(|forgery| forgery["name"].as_str().unwrap());
    let fresh = gallery(&TestIssuer::new("https://issuer.example"), "inventory").forgeries;
    let fresh: BTreeSet<_> = fresh.iter().map(|forgery| forgery.name).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), fresh, "write it anew: cargo run --example forgeries");
    assert!(fresh.len() >= 100, "{}", fresh.len());
}

#[test]
fn every_forgery_has_a_name_of_its_own() {
    let forgeries = gallery(&TestIssuer::new("https://issuer.example"), "inventory").forgeries;
    let names: BTreeSet<_> = forgeries.iter().map(|forgery| forgery.name).collect();
    assert_eq!(names.len(), forgeries.len());
}

fn service(
    issuer: &TestIssuer,
    content_type: &'static str,
) -> (
    impl tower::Service<Request<Body>, Response = Response<impl Sized>, Error = Infallible> + Clone,
    impl Fn() -> Request<Body>,
) {
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token());
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let request = move || Request::post("/").header("content-type", content_type).body(Body::empty()).unwrap();
    (layer.layer(inner), request)
}

#[tokio::test]
async fn the_layer_refuses_all_forgeries_in_both_protocols() {
    for content_type in ["application/grpc", "application/json"] {
        let issuer = TestIssuer::new("https://issuer.example");
        let (service, request) = service(&issuer, content_type);
        assert_refuses_all_forgeries(service, &issuer, "inventory", request).await;
    }
}

#[tokio::test]
#[should_panic(expected = "alg_none: accepted")]
async fn the_assertion_finds_a_service_that_refuses_nothing() {
    let issuer = TestIssuer::new("https://issuer.example");
    let open = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    assert_refuses_all_forgeries(open, &issuer, "inventory", || Request::new(Body::empty())).await;
}
