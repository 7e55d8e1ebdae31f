//! RFC 9068: the content and the lifetime of a token.

use std::{collections::HashSet, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use token_interceptor::signature::{Algorithm, SigningKey};
use token_issuer::client::Audience;
use token_proto::token::v1;

use crate::support::{
    World,
    calls::{claims, grpc, message, message_of_orders, post_as_orders, verified},
    world, world_with,
};

async fn issue(world: &World, request: v1::IssueTokenRequest) -> v1::Token {
    grpc(world).issue_token(request).await.unwrap().into_inner().token.unwrap()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test]
async fn rfc_9068_section_2_1_header_says_at_jwt_algorithm_and_key() {
    let world = world().await;
    let token = issue(&world, message_of_orders(&world)).await;
    let (header, _) = verified(&world, &token.value);
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(header["kid"], world.signing_key.public_jwk().key_id());
    assert_eq!(header.len(), 3);
}

#[tokio::test]
async fn rfc_9068_section_2_2_claims_are_complete_and_nothing_else_is_there() {
    let world = world().await;
    let token = issue(&world, message_of_orders(&world)).await;
    let claims = claims(&world, &token.value);
    assert_eq!(claims["iss"], "https://issuer.example");
    assert_eq!(claims["sub"], "orders");
    assert_eq!(claims["client_id"], "orders");
    assert_eq!(claims["aud"], "inventory");
    assert_eq!(claims["iat"], 1_767_225_600);
    assert_eq!(claims["exp"], 1_767_225_900);
    assert_eq!(claims["scope"], "inventory.read");
    let names: Vec<_> = claims.keys().map(String::as_str).collect();
    assert_eq!(names, ["aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"]);
}

#[tokio::test]
async fn several_audiences_are_an_array_and_one_is_a_string() {
    let world = world().await;
    let request = v1::IssueTokenRequest {
        audiences: vec!["https://b.example/api".into(), "https://a.example/api".into()],
        ..message("several", &world.secret)
    };
    let token = issue(&world, request).await;
    let expected = serde_json::json!(["https://b.example/api", "https://a.example/api"]);
    assert_eq!(claims(&world, &token.value)["aud"], expected);
}

#[tokio::test]
async fn custom_claims_are_added_and_never_shadow() {
    let world = world().await;
    let token = issue(&world, message("with-claims", &world.secret)).await;
    let claims = claims(&world, &token.value);
    assert_eq!(claims["department"], "sales \"north\"");
    assert_eq!(claims["sub"], "with-claims");
    assert_eq!(claims["scope"], "inventory.read");
}

#[tokio::test]
async fn lifetime_is_capped_by_server_and_client() {
    let world = world().await;
    let lifetime = async |client: &str, asked: Option<i64>| {
        let request = v1::IssueTokenRequest { lifetime: asked.and_then(seconds), ..message(client, &world.secret) };
        issue(&world, request).await.expires_in.unwrap()
    };
    assert_eq!(lifetime("orders", None).await.seconds, 300);
    assert_eq!(lifetime("orders", Some(1)).await.seconds, 1);
    assert_eq!(lifetime("orders", Some(3000)).await.seconds, 3000);
    assert_eq!(lifetime("orders", Some(i64::MAX)).await.seconds, 3600);
    assert_eq!(lifetime("short", None).await.seconds, 60);
    assert_eq!(lifetime("short", Some(3000)).await.seconds, 60);
}

#[tokio::test]
async fn expires_in_is_whole_seconds_also_when_a_fraction_is_asked_for() {
    let world = world().await;
    let lifetime = Some(prost_types::Duration { seconds: 1, nanos: 999_999_999 });
    let token = issue(&world, v1::IssueTokenRequest { lifetime, ..message_of_orders(&world) }).await;
    let expected = prost_types::Duration { seconds: 1, nanos: 0 };
    assert_eq!(token.expires_in, Some(expected));
    assert!(token.refresh_after.unwrap().seconds < 1);
}

#[tokio::test]
async fn header_budget_of_an_audience_wins_over_the_general_one() {
    let world = world_with(|settings| {
        settings.terms.token_bytes_max_by_audience = [("inventory".try_into().unwrap(), 300)].into();
    })
    .await;
    let status = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap_err();
    assert!(status.message().contains("limit for this audience is 300"), "{}", status.message());
}

#[tokio::test]
async fn token_id_has_128_random_bits_and_renewal_is_spread() {
    let world = world().await;
    let mut refresh = HashSet::new();
    for _ in 0..50 {
        let token = issue(&world, message_of_orders(&world)).await;
        assert_eq!(URL_SAFE_NO_PAD.decode(&token.token_id).unwrap().len(), 16);
        let after = token.refresh_after.unwrap();
        refresh.insert((after.seconds, after.nanos));
    }
    assert!(refresh.len() > 25, "{}", refresh.len());
}

#[tokio::test]
async fn two_hundred_parallel_requests_get_two_hundred_distinct_token_ids() {
    let world = world().await;
    let over_grpc = (0..100).map(|_| async { issue(&world, message_of_orders(&world)).await.token_id });
    let over_http = (0..100).map(|_| async {
        let answer = post_as_orders(&world, "").await;
        claims(&world, answer.json()["access_token"].as_str().unwrap())["jti"].as_str().unwrap().to_owned()
    });
    let (a, b) = tokio::join!(futures_util::future::join_all(over_grpc), futures_util::future::join_all(over_http));
    let distinct: HashSet<_> = a.into_iter().chain(b).collect();
    assert_eq!(distinct.len(), 200);
}

#[tokio::test]
async fn time_is_the_injected_clock() {
    let world = world().await;
    let before = claims(&world, &issue(&world, message_of_orders(&world)).await.value);
    world.clock.advance(Duration::from_secs(1000));
    let after = claims(&world, &issue(&world, message_of_orders(&world)).await.value);
    assert_eq!(after["iat"].as_i64().unwrap() - before["iat"].as_i64().unwrap(), 1000);
}

#[tokio::test]
async fn an_audience_may_take_another_algorithm_than_the_default() {
    let key = || {
        let der = SigningKey::generate_pkcs8(Algorithm::EdDsa).unwrap();
        SigningKey::from_der(Algorithm::EdDsa, &der).unwrap()
    };
    let world = crate::support::world_of(vec![key()], |settings| {
        let audience = |name: &str| Audience::try_from(name).unwrap();
        settings.terms.algorithm_by_audience = [
            (audience("inventory"), Algorithm::EdDsa),
            (audience("https://a.example/api"), Algorithm::Es256),
            (audience("https://b.example/api"), Algorithm::EdDsa),
        ]
        .into();
    })
    .await;
    let token = issue(&world, message_of_orders(&world)).await;
    let header = URL_SAFE_NO_PAD.decode(token.value.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["alg"], "EdDSA");
    // No token suits both.
    let request = v1::IssueTokenRequest {
        audiences: vec!["https://a.example/api".into(), "https://b.example/api".into()],
        ..message("several", &world.secret)
    };
    let status = grpc(&world).issue_token(request).await.unwrap_err();
    assert!(status.message().contains("different algorithms"), "{}", status.message());
}
