//! Verifiers that watch the issuer reject revoked tokens within a second.

use std::time::{Duration, Instant, SystemTime};

use secrecy::ExposeSecret as _;
use token_interceptor::{
    error::VerifyError,
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::{
    admin::v1::{
        DistrustSigningKeyRequest, ListSigningKeysRequest, RevokeClientTokensRequest,
        key_service_client::KeyServiceClient,
    },
    token::v1::{self, ErrorReason},
};
use token_server::development::DevelopmentClient;
use tonic::{Code, Request};

use crate::{
    harness::{Issuer, reason},
    service::{WhoCalled, serve},
};

async fn verify(verifier: &Verifier, token: &str) -> Result<(), VerifyError> {
    verifier.verify_with_fetch(UnverifiedToken::new(token), "inventory", verifier.now()).await.map(drop)
}

fn watching(issuer: &Issuer) -> Verifier {
    let trusted = TrustedIssuer::watch(issuer.url(), issuer.endpoint()).unwrap();
    Verifier::builder().issuer(trusted).build().unwrap()
}

/// Waits for the verifier to reject the token, for at most a second.
async fn refused_within_a_second(verifier: &Verifier, token: &str) -> VerifyError {
    let start = Instant::now();
    loop {
        match verify(verifier, token).await {
            Err(error) => return error,
            Ok(()) => assert!(start.elapsed() < Duration::from_secs(1), "still accepted after a second"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_a_connected_verifier_within_a_second() {
    let issuer = Issuer::start().await;
    let verifier = watching(&issuer);
    let (one, other) =
        (issuer.token_of(issuer.example(), "inventory").await, issuer.token_of(issuer.example(), "inventory").await);
    verify(&verifier, &one).await.unwrap();
    let request = v1::RevokeTokenRequest { client: Some(orders(&issuer)), token: one.clone() };
    let mut tokens = v1::token_service_client::TokenServiceClient::new(issuer.channel());
    tokens.revoke_token(request).await.unwrap();
    assert_eq!(refused_within_a_second(&verifier, &one).await.reason(), ErrorReason::TokenRevoked);
    verify(&verifier, &other).await.unwrap();
    issuer.stop().await;
}

/// The service is built as the README's server is.
#[tokio::test]
async fn a_service_refuses_a_revoked_token_within_a_second() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer, WhoCalled::default()).await.connect_lazy();
    let token = issuer.token_of(issuer.admin(), "m2m.admin.v1").await;
    let call = async || {
        let mut request = Request::new(ListSigningKeysRequest {});
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        KeyServiceClient::new(service.clone()).list_signing_keys(request).await
    };
    call().await.unwrap();
    let request = v1::RevokeTokenRequest { client: Some(authenticated(issuer.admin())), token: token.clone() };
    v1::token_service_client::TokenServiceClient::new(issuer.channel()).revoke_token(request).await.unwrap();
    let start = Instant::now();
    let refused = loop {
        match call().await {
            Err(status) => break status,
            Ok(_) => assert!(start.elapsed() < Duration::from_secs(1), "still accepted after a second"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!((refused.code(), &*reason(&refused)), (Code::Unauthenticated, "TOKEN_REVOKED"));
    issuer.stop().await;
}

#[tokio::test]
async fn every_token_of_a_client_is_refused_within_a_second_of_its_revocation_by_an_operator() {
    let issuer = Issuer::start().await;
    let verifier = watching(&issuer);
    let tokens =
        [issuer.token_of(issuer.example(), "inventory").await, issuer.token_of(issuer.example(), "inventory").await];
    let others = issuer.token_of(issuer.admin(), "m2m.admin.v1").await;
    verify(&verifier, &tokens[0]).await.unwrap();
    let request = RevokeClientTokensRequest { client_id: issuer.example().id.clone(), issued_before_time: None };
    let answer = issuer.clients_as(issuer.admin()).revoke_client_tokens(request).await.unwrap().into_inner();
    for token in &tokens {
        assert_eq!(refused_within_a_second(&verifier, token).await.reason(), ErrorReason::TokenRevoked);
        assert!(!active(&issuer, token).await);
    }
    let admins = UnverifiedToken::new(&others);
    verifier.verify_with_fetch(admins, "m2m.admin.v1", verifier.now()).await.expect("another client's");
    // A token issued in the next second is valid.
    let until = SystemTime::try_from(answer.issued_before_time.unwrap()).unwrap();
    tokio::time::sleep(until.duration_since(verifier.now()).unwrap_or_default()).await;
    let fresh = issuer.token_of(issuer.example(), "inventory").await;
    verify(&verifier, &fresh).await.unwrap();
    assert!(active(&issuer, &fresh).await);
    issuer.stop().await;
}

/// Returns the `active` of `IntrospectToken`.
async fn active(issuer: &Issuer, token: &str) -> bool {
    let request = v1::IntrospectTokenRequest { client: Some(orders(issuer)), token: token.to_owned() };
    let mut tokens = v1::token_service_client::TokenServiceClient::new(issuer.channel());
    tokens.introspect_token(request).await.unwrap().into_inner().active
}

fn orders(issuer: &Issuer) -> v1::ClientAuthentication {
    authenticated(issuer.example())
}

fn authenticated(client: &DevelopmentClient) -> v1::ClientAuthentication {
    let credential = v1::client_authentication::Credential::ClientSecret(client.secret.expose_secret().to_owned());
    v1::ClientAuthentication { client_id: client.id.clone(), credential: Some(credential) }
}

#[tokio::test]
async fn a_distrusted_keys_tokens_are_refused_by_a_connected_verifier_within_a_second() {
    let issuer = Issuer::start().await;
    let verifier = watching(&issuer);
    let token = issuer.token_of(issuer.example(), "inventory").await;
    verify(&verifier, &token).await.unwrap();
    let mut keys = KeyServiceClient::new(issuer.tokens(issuer.admin()).connect_lazy(&issuer.endpoint()).unwrap());
    for key in keys.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner().keys {
        keys.distrust_signing_key(DistrustSigningKeyRequest { key_id: key.key_id }).await.unwrap();
    }
    assert_eq!(refused_within_a_second(&verifier, &token).await.reason(), ErrorReason::TokenKeyUnknown);
    // The verifier has the next key before a client could get a token signed by it.
    let successor = issuer.token_of(issuer.example(), "inventory").await;
    verify(&verifier, &successor).await.unwrap();
    issuer.stop().await;
}
