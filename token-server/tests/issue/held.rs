//! Operations on an issued token, over both protocols: RFC 7662, RFC 7009, OpenID Connect Core section 5.3.

use std::time::Duration;

use ::http::{HeaderName, Method, Request, StatusCode, header};
use axum::body::Body;
use serde_json::{Map, Value};
use token_interceptor::clock::Clock as _;
use token_issuer::limit::Rate;
use token_proto::token::v1;
use tonic::{Code, metadata::MetadataValue};

use crate::support::{
    World,
    calls::{Answer, basic, grpc, message, message_of_orders, reason, send},
    world, world_with,
};

async fn issue(world: &World, client_id: &str) -> v1::Token {
    let request = v1::IssueTokenRequest { audiences: audiences_of(client_id), ..message(client_id, &world.secret) };
    grpc(world).issue_token(request).await.unwrap().into_inner().token.unwrap()
}

fn audiences_of(client_id: &str) -> Vec<String> {
    if client_id == "several" { vec!["https://a.example/api".to_owned()] } else { Vec::new() }
}

async fn post_to(world: &World, path: &str, client: (HeaderName, String), body: &str) -> Answer {
    let request = Request::post(path)
        .header(client.0, client.1)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(body.to_owned()));
    send(world, request.unwrap()).await
}

/// Returns the claims over HTTP and over gRPC, if the token is active.
async fn introspect(world: &World, client_id: &str, token: &str) -> Option<Map<String, Value>> {
    let body = format!("token={token}&token_type_hint=access_token");
    let http = post_to(world, "/oauth/introspect", basic(client_id, &world.secret), &body).await;
    assert_eq!((http.status, http.header(header::CACHE_CONTROL)), (StatusCode::OK, Some("no-store")));
    let mut http = http.json();
    let active = http.remove("active") == Some(Value::Bool(true));

    let request =
        v1::IntrospectTokenRequest { client: message(client_id, &world.secret).client, token: token.to_owned() };
    let grpc = grpc(world).introspect_token(request).await.unwrap().into_inner();
    assert_eq!(grpc.active, active, "the faces differ");
    assert_eq!(grpc.claims.is_some(), active);
    if let Some(claims) = grpc.claims {
        assert_eq!(claims.fields.keys().collect::<Vec<_>>(), http.keys().collect::<Vec<_>>(), "the faces differ");
    } else {
        assert!(http.is_empty(), "something is said of an inactive token: {http:?}");
    }
    active.then_some(http)
}

async fn revoke_over_grpc(world: &World, client_id: &str, token: &str) -> Result<(), (Code, String)> {
    let request = v1::RevokeTokenRequest { client: message(client_id, &world.secret).client, token: token.to_owned() };
    grpc(world).revoke_token(request).await.map(drop).map_err(|status| reason(&status))
}

async fn revoke_over_http(world: &World, client_id: &str, token: &str) -> Answer {
    post_to(world, "/oauth/revoke", basic(client_id, &world.secret), &format!("token={token}")).await
}

#[tokio::test]
async fn rfc_7662_section_2_2_active_token_is_told_with_its_claims() {
    let world = world().await;
    let token = issue(&world, "orders").await;
    let claims = introspect(&world, "orders", &token.value).await.unwrap();
    assert_eq!(claims["token_type"], "Bearer");
    assert_eq!(claims["jti"], token.token_id);
    assert_eq!(claims["scope"], "inventory.read");
    assert_eq!(claims["client_id"], "orders");
    assert_eq!(claims["iss"], "https://issuer.example");
}

#[tokio::test]
async fn rfc_7662_section_2_2_what_is_no_good_token_is_inactive() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    let place = token.len() - 10;
    let mut forged = token.clone();
    forged.replace_range(place..=place, if token[place..].starts_with('A') { "B" } else { "A" });
    let other = crate::support::world().await;
    let foreign = issue(&other, "orders").await.value;
    for inactive in ["x", "a.b.c", &forged, &foreign, "%00", &"x".repeat(4096)] {
        assert!(introspect(&world, "orders", inactive).await.is_none(), "{inactive}");
    }
    world.clock.advance(Duration::from_secs(300));
    assert!(introspect(&world, "orders", &token).await.is_none(), "expired");
}

/// An operator revokes every token that the client was issued before a time, and none after.
#[tokio::test]
async fn every_token_of_a_client_issued_before_a_time_is_inactive_at_once() {
    let world = world().await;
    let (old, other) = (issue(&world, "orders").await.value, issue(&world, "short").await.value);
    world.clock.advance(Duration::from_secs(10));
    let later = issue(&world, "orders").await.value;
    let before = world.clock.now() - Duration::from_secs(5);
    let operator = token_issuer::admin::Operator::local("test");
    let counted = world.revoking.revoke_client_tokens(&operator, "orders", Some(before)).await.unwrap();
    assert!(counted >= before && counted < before + Duration::from_secs(1));
    assert!(introspect(&world, "auditor", &old).await.is_none(), "issued before");
    assert!(introspect(&world, "auditor", &later).await.is_some(), "issued after");
    assert!(introspect(&world, "auditor", &other).await.is_some(), "another client's");
    world.revoking.revoke_client_tokens(&operator, "orders", None).await.unwrap();
    assert!(introspect(&world, "auditor", &later).await.is_none(), "issued before now");
    let records = world.store.records();
    assert!(records.iter().all(|record| record.action == "RevokeClientTokens" && record.actor == "local:test"));
    assert_eq!(records.len(), 2);
}

/// Section 4: a caller that may not know learns nothing.
#[tokio::test]
async fn rfc_7662_section_4_only_those_concerned_may_introspect() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    assert!(introspect(&world, "short", &token).await.is_none(), "another client");
    assert!(introspect(&world, "inventory", &token).await.is_some(), "the resource server");
    assert!(introspect(&world, "auditor", &token).await.is_some(), "a client with the scope");
}

#[tokio::test]
async fn rfc_7662_section_2_1_introspection_is_authenticated() {
    let world = world().await;
    let answer = post_to(&world, "/oauth/introspect", basic("orders", "wrong"), "token=x").await;
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()));
    assert!(answer.header(header::WWW_AUTHENTICATE).is_some());
    let request = v1::IntrospectTokenRequest { client: None, token: "x".to_owned() };
    let status = grpc(&world).introspect_token(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned()));
}

#[tokio::test]
async fn a_question_without_a_token_is_an_invalid_request() {
    let world = world().await;
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for body in ["", "token=", "token=a&token=b"] {
            let answer = post_to(&world, path, basic("orders", &world.secret), body).await;
            assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{path} {body}");
        }
    }
    let client = message_of_orders(&world).client;
    let request = v1::IntrospectTokenRequest { client: client.clone(), token: String::new() };
    assert_eq!(grpc(&world).introspect_token(request).await.unwrap_err().code(), Code::InvalidArgument);
    let request = v1::RevokeTokenRequest { client, token: String::new() };
    assert_eq!(grpc(&world).revoke_token(request).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn rfc_7009_section_2_1_a_revoked_token_is_inactive_at_once() {
    let world = world().await;
    let (over_grpc, over_http) = (issue(&world, "orders").await.value, issue(&world, "orders").await.value);
    let untouched = issue(&world, "orders").await.value;
    revoke_over_grpc(&world, "orders", &over_grpc).await.unwrap();
    let answer = revoke_over_http(&world, "orders", &over_http).await;
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert!(introspect(&world, "orders", &over_grpc).await.is_none());
    assert!(introspect(&world, "orders", &over_http).await.is_none());
    assert!(introspect(&world, "orders", &untouched).await.is_some());
}

#[tokio::test]
async fn rfc_7009_section_2_2_an_unknown_token_is_revoked_enough() {
    let world = world().await;
    for token in ["x", "a.b.c"] {
        assert_eq!(revoke_over_http(&world, "orders", token).await.status, StatusCode::OK);
        revoke_over_grpc(&world, "orders", token).await.unwrap();
    }
    let expired = issue(&world, "orders").await.value;
    world.clock.advance(Duration::from_secs(301));
    revoke_over_grpc(&world, "orders", &expired).await.unwrap();
    assert_eq!(world.store.writes(), 0);
}

#[tokio::test]
async fn revoking_twice_is_once_and_writes_once() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    for _ in 0..3 {
        revoke_over_grpc(&world, "orders", &token).await.unwrap();
    }
    assert_eq!(world.store.writes(), 1);
}

#[tokio::test]
async fn rfc_7009_section_2_1_another_clients_token_cannot_be_revoked() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    let refused = revoke_over_grpc(&world, "short", &token).await.unwrap_err();
    assert_eq!(refused, (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED".to_owned()));
    let answer = revoke_over_http(&world, "short", &token).await;
    assert_eq!(answer.error(), (400, "unauthorized_client".to_owned()));
    assert!(introspect(&world, "orders", &token).await.is_some());
}

#[tokio::test]
async fn a_revocation_that_cannot_be_stored_is_not_claimed() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    world.store.set_out_of_reach(true);
    let refused = revoke_over_grpc(&world, "orders", &token).await.unwrap_err();
    assert_eq!(refused, (Code::Unavailable, "ISSUER_UNAVAILABLE".to_owned()));
    assert_eq!(revoke_over_http(&world, "orders", &token).await.error(), (503, "temporarily_unavailable".to_owned()));
}

async fn user_info_over_http(world: &World, method: Method, authorization: &[&str]) -> Answer {
    let mut request = Request::builder().method(method).uri("/userinfo");
    for value in authorization {
        request = request.header(header::AUTHORIZATION, *value);
    }
    send(world, request.body(Body::empty()).unwrap()).await
}

async fn user_info_over_grpc(world: &World, authorization: &str) -> Result<v1::GetUserInfoResponse, tonic::Status> {
    let mut request = tonic::Request::new(v1::GetUserInfoRequest {});
    if !authorization.is_empty() {
        let value = MetadataValue::try_from(authorization).unwrap();
        request.metadata_mut().insert(header::AUTHORIZATION.as_str(), value);
    }
    Ok(grpc(world).get_user_info(request).await?.into_inner())
}

#[tokio::test]
async fn openid_connect_core_section_5_3_user_info_tells_the_subject() {
    let world = world().await;
    let bearer = format!("Bearer {}", issue(&world, "orders").await.value);
    for method in [Method::GET, Method::POST] {
        let answer = user_info_over_http(&world, method, &[&bearer]).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json()["sub"], "orders");
        assert_eq!(answer.json()["name"], "Order service");
    }
    let claims = user_info_over_grpc(&world, &bearer).await.unwrap().claims.unwrap();
    assert_eq!(claims.fields.keys().collect::<Vec<_>>(), ["client_id", "name", "sub"]);
}

#[tokio::test]
async fn rfc_6750_section_3_1_user_info_without_a_good_token_is_challenged() {
    let world = world().await;
    let token = issue(&world, "orders").await.value;
    revoke_over_grpc(&world, "orders", &token).await.unwrap();
    let missing = user_info_over_http(&world, Method::GET, &[]).await;
    assert_eq!((missing.status.as_u16(), missing.header(header::WWW_AUTHENTICATE)), (401, Some("Bearer")));
    for bad in ["Bearer x", &format!("Bearer {token}")] {
        let answer = user_info_over_http(&world, Method::GET, &[bad]).await;
        assert_eq!(answer.error(), (401, "invalid_token".to_owned()));
        assert!(answer.header(header::WWW_AUTHENTICATE).unwrap().contains("error=\"invalid_token\""));
        let status = user_info_over_grpc(&world, bad).await.unwrap_err();
        assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_INVALID".to_owned()));
    }
    let status = user_info_over_grpc(&world, "").await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned()));
}

#[tokio::test]
async fn user_info_takes_no_token_twice() {
    let world = world().await;
    let bearer = format!("Bearer {}", issue(&world, "orders").await.value);
    let answer = user_info_over_http(&world, Method::GET, &[&bearer, &bearer]).await;
    assert!(answer.status.is_client_error());
}

/// Every verifier keeps every revocation until its token has expired.
#[tokio::test]
async fn a_client_that_revokes_without_end_does_not_fill_every_verifiers_memory() {
    let rate = Rate::every(Duration::from_secs(3600), 2);
    let world = world_with(|settings| settings.limits.revocation = Some(rate)).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(issue(&world, "orders").await.value);
    }
    revoke_over_grpc(&world, "orders", &tokens[0]).await.unwrap();
    assert_eq!(revoke_over_http(&world, "orders", &tokens[1]).await.status, 200);
    let refused = revoke_over_grpc(&world, "orders", &tokens[2]).await.unwrap_err();
    assert_eq!(refused, (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let refused = revoke_over_http(&world, "orders", &tokens[3]).await;
    assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
    assert!(refused.header(header::RETRY_AFTER).is_some());
    // A token of another issuer is not stored.
    assert_eq!(revoke_over_http(&world, "orders", "unknown").await.status, 200);
    assert!(introspect(&world, "orders", &tokens[3]).await.is_some(), "the revocation was not published");
}

/// Up to the limit that an operator may configure, over both protocols.
#[tokio::test]
async fn a_token_of_any_issued_length_is_introspected_and_revoked() {
    for bytes in [3_000, 9_000, 40_000] {
        let world = world_with(|settings| settings.terms.token_bytes_max = 65_536).await;
        world.store.change("oversize", |client| {
            client.claims.insert("long".to_owned(), "x".repeat(bytes));
        });
        let (one, other) = (issue(&world, "oversize").await.value, issue(&world, "oversize").await.value);
        assert!(one.len() > bytes);
        assert!(introspect(&world, "oversize", &one).await.is_some(), "{bytes}");
        let told = user_info_over_http(&world, Method::GET, &[&format!("Bearer {one}")]).await;
        assert_eq!(told.status, 200);
        assert_eq!(revoke_over_http(&world, "oversize", &one).await.status, 200);
        revoke_over_grpc(&world, "oversize", &other).await.unwrap();
        for revoked in [one, other] {
            assert!(introspect(&world, "oversize", &revoked).await.is_none(), "{bytes}");
        }
    }
}

#[tokio::test]
async fn a_long_token_of_one_audience_is_revoked_as_others_are() {
    let world = world_with(|settings| {
        settings.terms.token_bytes_max = 300;
        settings.terms.token_bytes_max_by_audience = [("inventory".try_into().unwrap(), 16_384)].into();
    })
    .await;
    world.store.change("oversize", |client| {
        client.claims.insert("long".to_owned(), "x".repeat(9_000));
    });
    let token = issue(&world, "oversize").await.value;
    assert_eq!(revoke_over_http(&world, "oversize", &token).await.status, 200);
    assert!(introspect(&world, "oversize", &token).await.is_none());
}

#[tokio::test]
async fn a_text_longer_than_any_issued_token_is_an_invalid_request() {
    let world = world().await;
    let long = "x".repeat(4097);
    let invalid = (Code::InvalidArgument, "INVALID_REQUEST".to_owned());
    assert_eq!(revoke_over_grpc(&world, "orders", &long).await.unwrap_err(), invalid);
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        let answer = post_to(&world, path, basic("orders", &world.secret), &format!("token={long}")).await;
        assert_eq!(answer.error(), (400, "invalid_request".to_owned()), "{path}");
    }
    let request = v1::IntrospectTokenRequest { client: message("orders", &world.secret).client, token: long.clone() };
    assert_eq!(reason(&grpc(&world).introspect_token(request).await.unwrap_err()), invalid);
    let answer = user_info_over_http(&world, Method::GET, &[&format!("Bearer {long}")]).await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_client_has_a_bounded_number_of_live_revocations() {
    let world = world_with(|settings| settings.revoked_tokens_per_client = 2).await;
    let mut tokens = Vec::new();
    for _ in 0..5 {
        tokens.push(issue(&world, "orders").await.value);
    }
    revoke_over_grpc(&world, "orders", &tokens[0]).await.unwrap();
    revoke_over_grpc(&world, "orders", &tokens[1]).await.unwrap();
    let refused = revoke_over_http(&world, "orders", &tokens[2]).await;
    assert_eq!(refused.error(), (429, "temporarily_unavailable".to_owned()));
    assert!(String::from_utf8_lossy(&refused.body).contains("revoke all tokens of the client"));
    let refused = revoke_over_grpc(&world, "orders", &tokens[2]).await.unwrap_err();
    assert_eq!(refused, (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let other = issue(&world, "short").await.value;
    revoke_over_grpc(&world, "short", &other).await.unwrap();
    // The revocation of all tokens takes one entry, and the entries that it covers no longer count.
    let operator = token_issuer::admin::Operator::local("test");
    world.revoking.revoke_client_tokens(&operator, "orders", None).await.unwrap();
    assert!(introspect(&world, "auditor", &tokens[2]).await.is_none());
    world.clock.advance(Duration::from_secs(1));
    let later = issue(&world, "orders").await.value;
    revoke_over_grpc(&world, "orders", &later).await.unwrap();
}
