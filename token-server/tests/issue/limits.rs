//! Rate limits, as callers meet them.

use std::time::Duration;

use ::http::header;
use tonic::{Code, Request, transport::server::TcpConnectInfo};
use tonic_types::StatusExt as _;

use token_issuer::limit::{LimitSettings, Quota, QuotaMode, Rate};

use crate::support::{
    IMPORTED, World,
    calls::{Answer, basic, form, grpc, message, message_of_orders, post_as_orders, reason, send},
    world_with, world_with_imported_and,
};

async fn limited(change: impl Fn(&mut LimitSettings)) -> World {
    world_with(|settings| {
        settings.limits = LimitSettings { keys_max: 100, ..LimitSettings::unlimited() };
        change(&mut settings.limits);
    })
    .await
}

async fn limited_with_imported(change: impl Fn(&mut LimitSettings)) -> World {
    world_with_imported_and(|settings| {
        settings.limits = LimitSettings { keys_max: 100, ..LimitSettings::unlimited() };
        change(&mut settings.limits);
    })
    .await
}

fn hourly(burst: u32) -> Option<Rate> {
    Some(Rate::every(Duration::from_secs(3600), burst))
}

fn from(address: &str) -> TcpConnectInfo {
    TcpConnectInfo { local_addr: None, remote_addr: Some(address.parse().unwrap()) }
}

async fn http_from(world: &World, address: &str, client_id: &str, secret: &str) -> Answer {
    let mut request = form("grant_type=client_credentials", &[basic(client_id, secret)]);
    request.extensions_mut().insert(from(address));
    send(world, request).await
}

#[tokio::test]
async fn peer_over_its_limit_is_told_when_to_come_back() {
    let world = limited(|limits| limits.peer = hourly(1)).await;
    assert_eq!(post_as_orders(&world, "").await.status, 200);
    let answer = post_as_orders(&world, "").await;
    assert_eq!(answer.error(), (429, "temporarily_unavailable".to_owned()));
    assert_eq!(answer.header(header::RETRY_AFTER), Some("3600"));
    let status = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(!delay.is_zero() && delay.as_secs() <= 3600);
}

#[tokio::test]
async fn peers_are_told_apart_by_address_over_both_faces() {
    let world = limited(|limits| limits.peer = hourly(1)).await;
    assert_eq!(http_from(&world, "192.0.2.1:1000", "orders", &world.secret).await.status, 200);
    assert_eq!(http_from(&world, "192.0.2.2:1000", "orders", &world.secret).await.status, 200);
    assert_eq!(http_from(&world, "192.0.2.1:2000", "orders", &world.secret).await.status, 429);
    let mut request = Request::new(message_of_orders(&world));
    request.extensions_mut().insert(from("192.0.2.2:3000"));
    assert_eq!(grpc(&world).issue_token(request).await.unwrap_err().code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn only_the_client_itself_spends_its_budget() {
    let world = limited(|limits| limits.client = hourly(1)).await;
    for _ in 0..10 {
        let status = grpc(&world).issue_token(message("orders", "guess")).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
    let status = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

/// A generated secret cannot be guessed, so wrong ones do not lock its client out.
#[tokio::test]
async fn generated_secrets_cause_no_lock_out() {
    let world = limited(|limits| limits.failure = hourly(1)).await;
    for _ in 0..110 {
        assert_eq!(http_from(&world, "192.0.2.1:1", "orders", "guess").await.status, 401);
    }
    assert_eq!(http_from(&world, "192.0.2.1:1", "orders", &world.secret).await.status, 200);
    assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
}

#[tokio::test]
async fn guesses_at_imported_secrets_are_stopped() {
    let world = limited_with_imported(|limits| limits.failure = hourly(1)).await;
    assert_eq!(http_from(&world, "192.0.2.3:1", "orders", &world.secret).await.status, 200);
    for _ in 0..2 {
        assert_eq!(http_from(&world, "192.0.2.1:1", "imported", "guess").await.status, 401);
    }
    assert_eq!(http_from(&world, "192.0.2.1:1", "imported", "guess").await.status, 429);
    // Even the correct secret is rejected now ...
    assert_eq!(http_from(&world, "192.0.2.1:1", "imported", IMPORTED).await.status, 429);
    // ... but its client authenticates from elsewhere, and then behind the guesser's address too.
    assert_eq!(http_from(&world, "192.0.2.2:1", "imported", IMPORTED).await.status, 200);
    assert_eq!(http_from(&world, "192.0.2.1:1", "imported", IMPORTED).await.status, 200);
    assert_eq!(http_from(&world, "192.0.2.1:1", "imported", "guess").await.status, 429);
    assert_eq!(http_from(&world, "192.0.2.1:1", "orders", &world.secret).await.status, 200);
}

#[tokio::test]
async fn limited_peer_is_refused_before_its_body_is_read() {
    let world = limited(|limits| limits.peer = hourly(1)).await;
    assert_eq!(post_as_orders(&world, "").await.status, 200);
    let never_ending = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>,
    >());
    let mut request = form("", &[]);
    *request.body_mut() = axum::body::Body::new(never_ending);
    assert_eq!(send(&world, request).await.status, 429);
}

async fn with_quota(mode: QuotaMode) -> World {
    world_with(|settings| settings.quota.default = Some(Quota { tokens: 1, mode })).await
}

#[tokio::test]
async fn a_quota_that_is_enforced_tells_both_faces_when_to_come_back() {
    let world = with_quota(QuotaMode::Enforce).await;
    assert_eq!(post_as_orders(&world, "").await.status, 200);
    let answer = post_as_orders(&world, "").await;
    assert_eq!(answer.error(), (429, "temporarily_unavailable".to_owned()));
    assert!(answer.header(header::RETRY_AFTER).unwrap().parse::<u64>().unwrap() <= 3600);
    let status = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    assert!(status.get_details_retry_info().unwrap().retry_delay.unwrap() <= Duration::from_secs(3600));
}

#[tokio::test]
async fn a_refused_request_is_no_token_of_the_quota() {
    let world = with_quota(QuotaMode::Enforce).await;
    for _ in 0..5 {
        assert!(grpc(&world).issue_token(message("orders", "guess")).await.is_err());
    }
    assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
}

#[tokio::test]
async fn a_quota_that_is_observed_refuses_no_client() {
    let world = with_quota(QuotaMode::Observe).await;
    for _ in 0..5 {
        assert_eq!(post_as_orders(&world, "").await.status, 200);
    }
}
