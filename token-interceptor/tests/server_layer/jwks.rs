//! A key set at a URL that the program names, over a real socket. The metadata are not read.

use token_interceptor::{
    layer::AuthorizationLayer,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::policy::Requirement;

use crate::{
    http_issuer::{HttpIssuer, Keys, Metadata},
    network::{call, reason, retry_after},
};

/// A layer that only knows the issuer's name and its keys' URL.
fn layer(issuer: &HttpIssuer) -> AuthorizationLayer {
    let trusted = TrustedIssuer::jwks(issuer.identifier(), &format!("{}/keys", issuer.base())).unwrap();
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.signer.clock()).build().unwrap();
    AuthorizationLayer::requiring(verifier, "inventory", Requirement::any_token())
}

#[tokio::test]
async fn keys_at_a_url_are_fetched_once_and_a_rotation_is_followed_at_once() {
    // The metadata name another issuer, so a verifier that reads them rejects the keys.
    let issuer = HttpIssuer::start("", Metadata::OfAnother).await;
    let layer = layer(&issuer);
    let old = issuer.signer.token().sign();
    call(&layer, &old).await.unwrap();
    call(&layer, &issuer.signer.token().sign()).await.unwrap();
    assert_eq!(issuer.fetches(), 1);

    let rotated = issuer.signer.rotated();
    issuer.set_keys(Keys::Served(rotated.jwks()));
    call(&layer, &rotated.token().sign()).await.unwrap();
    assert_eq!(issuer.fetches(), 2);
    assert_eq!(reason(call(&layer, &old).await), "TOKEN_KEY_UNKNOWN");
}

#[tokio::test]
async fn a_token_of_another_issuer_with_the_same_key_is_refused() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    let layer = layer(&issuer);
    let other = issuer.signer.token().claim("iss", "https://other.example").sign();
    assert_eq!(reason(call(&layer, &other).await), "TOKEN_INVALID");
    call(&layer, &issuer.signer.token().sign()).await.unwrap();
}

#[tokio::test]
async fn a_url_that_leads_to_no_keys_is_no_verdict_on_the_token() {
    let issuer = HttpIssuer::start("", Metadata::OpenId).await;
    issuer.set_keys(Keys::Redirects(format!("{}/elsewhere", issuer.base())));
    retry_after(call(&layer(&issuer), &issuer.signer.token().sign()).await);
}

#[test]
fn plaintext_keys_from_another_machine_are_refused_at_the_start() {
    let trusted = TrustedIssuer::jwks("https://issuer.example", "http://issuer.example/keys").unwrap();
    assert!(Verifier::builder().issuer(trusted).build().is_err());
    assert!(TrustedIssuer::jwks("https://issuer.example", "no URL").is_err());
}
