//! Tokens that are encrypted to their audience: RFC 7516, RFC 7519 section 5.2.

use std::collections::BTreeMap;

use token_interceptor::encryption::DecryptionKey;
use token_interceptor::{
    key_set::KeySet,
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::token::v1;
use tonic::Code;

use crate::support::{
    ISSUER, World,
    calls::{grpc, message, post, post_as_orders, reason},
    world_with,
};

/// The example of RFC 7517 appendix A.2, for encryption.
const KEY: &str = r#"{"kty":"EC","crv":"P-256","kid":"inventory-1","use":"enc",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;

fn key() -> DecryptionKey {
    DecryptionKey::from_jwk(KEY).unwrap()
}

async fn encrypting(audience: &str, bytes_max: usize) -> World {
    world_with(|settings| {
        settings.terms.encryption_by_audience = BTreeMap::from([(audience.try_into().unwrap(), key().public())]);
        settings.terms.token_bytes_max = bytes_max;
    })
    .await
}

fn parts(token: &str) -> usize {
    token.split('.').count()
}

async fn issued(world: &World) -> v1::Token {
    grpc(world).issue_token(message("orders", &world.secret)).await.unwrap().into_inner().token.unwrap()
}

#[tokio::test]
async fn rfc_7519_section_5_2_a_token_is_signed_and_then_encrypted_to_its_audience() {
    let world = encrypting("inventory", 4096).await;
    let http = post_as_orders(&world, "").await.json();
    let trusted = |world: &World| {
        let jwks = format!(r#"{{"keys":[{}]}}"#, world.signing_key.public_jwk().to_json());
        TrustedIssuer::fixed(ISSUER, KeySet::from_jwks(jwks.as_bytes()).unwrap()).unwrap()
    };
    let verifier = Verifier::builder().issuer(trusted(&world)).decryption_key(key()).require_encryption();
    let verifier = verifier.build().unwrap();
    for token in [http["access_token"].as_str().unwrap(), &issued(&world).await.value] {
        assert_eq!(parts(token), 5);
        let verified = verifier.verify(UnverifiedToken::new(token), "inventory", crate::support::start()).unwrap();
        assert_eq!((verified.client_id(), verified.has_scope("inventory.read")), ("orders", true));
    }
}

#[tokio::test]
async fn tokens_of_other_audiences_stay_readable() {
    let world = encrypting("warehouse", 4096).await;
    assert_eq!(parts(&issued(&world).await.value), 3);
}

#[tokio::test]
async fn header_budget_holds_for_the_encrypted_token() {
    let readable = issued(&world_with(|_| ()).await).await.value.len();
    let world = encrypting("inventory", readable + 20).await;
    let error = grpc(&world).issue_token(message("orders", &world.secret)).await.unwrap_err();
    assert_eq!(reason(&error), (Code::InvalidArgument, "TOKEN_TOO_LARGE".to_owned()));
}

#[tokio::test]
async fn an_audience_of_encrypted_tokens_shares_none_with_another() {
    let world = encrypting("https://a.example/api", 4096).await;
    let ask = |audiences: &str| {
        let secret = &world.secret;
        format!("grant_type=client_credentials&client_id=several&client_secret={secret}&scope=read{audiences}")
    };
    let (a, b) = ("&resource=https://a.example/api", "&resource=https://b.example/api");
    assert_eq!(post(&world, &ask(&format!("{a}{b}"))).await.error(), (400, "invalid_target".to_owned()));
    assert_eq!(parts(post(&world, &ask(a)).await.json()["access_token"].as_str().unwrap()), 5);
    assert_eq!(parts(post(&world, &ask(b)).await.json()["access_token"].as_str().unwrap()), 3);
}

/// "Revoked" and "inactive" would be wrong for a valid token.
#[tokio::test]
async fn an_encrypted_token_is_neither_revoked_nor_inactive_but_unreadable_here() {
    let world = encrypting("inventory", 4096).await;
    let token = issued(&world).await.value;
    let client = || message("orders", &world.secret).client;
    let unreadable = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    let revoke = v1::RevokeTokenRequest { client: client(), token: token.clone() };
    assert_eq!(reason(&grpc(&world).revoke_token(revoke).await.unwrap_err()), unreadable);
    let introspect = v1::IntrospectTokenRequest { client: client(), token };
    assert_eq!(reason(&grpc(&world).introspect_token(introspect).await.unwrap_err()), unreadable);
}
