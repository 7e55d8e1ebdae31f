//! A verifier outlives the runtime that it was built in, and can be built without one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/http_issuer.rs"]
mod http_issuer;

use std::time::Duration;

use http_issuer::{HttpIssuer, Keys, Metadata};
use token_interceptor::{
    test_util::TestIssuer,
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Starts an issuer in a thread of its own, for the life of the process.
fn issuer() -> HttpIssuer {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            sender.send(HttpIssuer::start("", Metadata::OpenId).await).unwrap();
            std::future::pending::<()>().await;
        });
    });
    receiver.recv().unwrap()
}

fn verifier(issuer: &HttpIssuer) -> Verifier {
    let trusted = TrustedIssuer::discover(issuer.identifier()).unwrap();
    Verifier::builder().issuer(trusted).clock(issuer.signer.clock()).build().unwrap()
}

async fn accepts(verifier: &Verifier, issuer: &TestIssuer) -> bool {
    let token = issuer.token().sign();
    verifier.verify_with_fetch(UnverifiedToken::new(&token), "inventory", verifier.now()).await.is_ok()
}

#[test]
fn a_verifier_built_outside_any_runtime_fetches_with_its_first_token() {
    let issuer = issuer();
    let verifier = verifier(&issuer);
    assert!(runtime().block_on(accepts(&verifier, &issuer.signer)));
}

#[test]
fn a_verifier_goes_on_in_another_runtime_when_its_own_has_ended() {
    let issuer = issuer();
    let first = runtime();
    let verifier = first.block_on(async { verifier(&issuer) });
    assert!(first.block_on(accepts(&verifier, &issuer.signer)));
    drop(first);
    let rotated = issuer.signer.rotated();
    issuer.set_keys(Keys::Served(rotated.jwks()));
    assert!(runtime().block_on(accepts(&verifier, &rotated)));
}

#[test]
fn without_a_runtime_an_unknown_key_is_no_panic() {
    let issuer = issuer();
    let verifier = verifier(&issuer);
    let token = issuer.signer.token().sign();
    let refused = verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap_err();
    assert!(refused.is_transient());
}

/// The finding: a known key restarted nothing, so a withdrawn key was accepted until its tokens expired.
#[test]
fn a_withdrawn_key_is_found_out_after_the_runtime_has_ended() {
    let issuer = issuer();
    let trusted = TrustedIssuer::discover(issuer.identifier()).unwrap().max_age(Duration::from_secs(1));
    let builder = || Verifier::builder().issuer(trusted.clone()).clock(issuer.signer.clock()).build().unwrap();
    let first = runtime();
    let verifier = first.block_on(async { builder() });
    assert!(first.block_on(accepts(&verifier, &issuer.signer)));
    drop(first);
    issuer.set_keys(Keys::Served(r#"{"keys":[]}"#.to_owned()));
    runtime().block_on(async {
        let found_out = async {
            while accepts(&verifier, &issuer.signer).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), found_out).await.expect("the key is accepted on and on");
    });
}
