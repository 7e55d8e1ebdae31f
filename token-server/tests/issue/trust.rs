//! `TrustService`: the same facts over gRPC, on request or as a stream.

use std::{sync::Arc, time::Duration};

use token_interceptor::{clock::Clock as _, revocation::TargetHash};
use token_issuer::store::{Revocation, RevocationTarget};
use token_proto::token::v1::{
    self, trust_service_client::TrustServiceClient, trust_service_server::TrustServiceServer,
};
use token_server::grpc;
use tokio_stream::StreamExt as _;

use crate::support::{
    World,
    calls::{get, grpc, message_of_orders, reason},
    world, world_with,
};

fn trust(world: &World) -> TrustServiceClient<TrustServiceServer<grpc::trust::TrustService>> {
    TrustServiceClient::new(grpc::trust::server(Arc::clone(&world.issuer)))
}

async fn watch(world: &World, since_version: &str) -> tonic::Streaming<v1::WatchTrustResponse> {
    let request = v1::WatchTrustRequest { since_version: since_version.to_owned() };
    trust(world).watch_trust(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn issuer_is_described_as_in_the_metadata() {
    let world = world().await;
    let issuer = trust(&world).get_issuer(v1::GetIssuerRequest {}).await.unwrap().into_inner().issuer.unwrap();
    let document = get(&world, "/.well-known/oauth-authorization-server").await.json();
    assert_eq!(document["issuer"], issuer.issuer);
    assert_eq!(document["jwks_uri"], issuer.jwks_uri);
    assert_eq!(document["token_endpoint"], issuer.token_endpoint);
    assert_eq!(document["grant_types_supported"], serde_json::json!(issuer.grant_types));
    let methods = serde_json::json!(issuer.client_authentication_methods);
    assert_eq!(document["token_endpoint_auth_methods_supported"], methods);
    assert_eq!(issuer.signing_algorithms, ["ES256"]);
    assert_eq!(issuer.maximum_token_lifetime.unwrap().seconds, 3600);
}

#[tokio::test]
async fn keys_are_those_of_the_jwk_set() {
    let world = world().await;
    let answer = trust(&world).list_keys(v1::ListKeysRequest {}).await.unwrap().into_inner();
    let set = get(&world, "/jwks.json").await.json();
    assert_eq!(answer.keys.len(), 1);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer.keys[0].jwk).unwrap(), set["keys"][0]);
    assert_eq!(answer.keys[0].state(), v1::KeyState::Active);
    assert!((240..=300).contains(&answer.max_age.unwrap().seconds));
}

#[tokio::test]
async fn watch_begins_with_a_snapshot() {
    let world = world().await;
    let first = watch(&world, "").await.next().await.unwrap().unwrap();
    assert!(first.snapshot && !first.version.is_empty());
    assert_eq!(first.keys.len(), 1);
    assert_eq!(first.server_time, Some(crate::support::start().into()));
}

#[tokio::test]
async fn watch_resumes_without_a_snapshot_when_nothing_has_changed() {
    let world = world().await;
    let version = watch(&world, "").await.next().await.unwrap().unwrap().version;
    let resumed = watch(&world, &version).await.next().await.unwrap().unwrap();
    assert!(!resumed.snapshot && resumed.keys.is_empty());
    assert_eq!(resumed.version, version);
    assert!(watch(&world, "stale").await.next().await.unwrap().unwrap().snapshot);
}

#[tokio::test(start_paused = true)]
async fn watch_has_a_heartbeat() {
    let world = world().await;
    let mut stream = watch(&world, "").await;
    let first = stream.next().await.unwrap().unwrap();
    let heartbeat = stream.next().await.unwrap().unwrap();
    assert!(!heartbeat.snapshot && heartbeat.keys.is_empty());
    assert_eq!(heartbeat.version, first.version);
}

#[tokio::test]
async fn watch_tells_of_a_revocation_at_once_and_only_once() {
    let world = world().await;
    let mut stream = watch(&world, "").await;
    let before = stream.next().await.unwrap().unwrap();
    let (token_id, _) = revoked_token(&world).await;
    let delta = stream.next().await.unwrap().unwrap();
    assert!(!delta.snapshot && delta.keys.is_empty());
    let target =
        |message: &v1::WatchTrustResponse| message.revocations.iter().map(|one| one.target.clone()).collect::<Vec<_>>();
    let hash = TargetHash::of_token(&token_id).as_bytes().to_vec();
    let expected = vec![Some(v1::revocation::Target::TokenHash(hash))];
    assert_eq!(target(&delta), expected);
    // A watcher that resumes from the earlier version gets it. A watcher that resumes from the later one does
    // not.
    let resumed = watch(&world, &before.version).await.next().await.unwrap().unwrap();
    assert_eq!(target(&resumed), expected);
    assert!(target(&watch(&world, &delta.version).await.next().await.unwrap().unwrap()).is_empty());
    let snapshot = watch(&world, "").await.next().await.unwrap().unwrap();
    assert!(snapshot.snapshot);
    assert_eq!(target(&snapshot), expected);
}

#[tokio::test]
async fn a_revocation_may_be_forgotten_once_no_verifier_takes_the_token() {
    let world = world().await;
    let (_, expire_time) = revoked_token(&world).await;
    let snapshot = watch(&world, "").await.next().await.unwrap().unwrap();
    let forget_time = snapshot.revocations[0].forget_time.unwrap();
    assert_eq!(forget_time.seconds - expire_time.seconds, 600);
}

/// `jti` and `exp` of a token that has been revoked.
async fn revoked_token(world: &World) -> (String, prost_types::Timestamp) {
    let client = message_of_orders(world).client;
    let token = grpc(world).issue_token(message_of_orders(world)).await.unwrap().into_inner().token.unwrap();
    grpc(world).revoke_token(v1::RevokeTokenRequest { client, token: token.value }).await.unwrap();
    (token.token_id, token.expire_time.unwrap())
}

#[tokio::test]
async fn watch_ends_when_the_server_drains() {
    let world = world().await;
    let mut stream = watch(&world, "").await;
    stream.next().await.unwrap().unwrap();
    world.issuer.close();
    assert!(stream.next().await.is_none());
    assert!(watch(&world, "").await.next().await.unwrap().is_ok());
}

async fn revoke_many(world: &World, count: usize) {
    let now = world.clock.now();
    for number in 0..count {
        let target = RevocationTarget::TokenId(format!("jti-{number}"));
        let forget_time = now + Duration::from_secs(3600);
        let revocation = Revocation { target, revoked_before: now, forget_time, issued_to: None };
        world.issuer.revocations().revoke(revocation, None).await.unwrap();
    }
}

/// The messages of one step.
async fn step(stream: &mut tonic::Streaming<v1::WatchTrustResponse>) -> Vec<v1::WatchTrustResponse> {
    let mut parts = Vec::new();
    loop {
        let part = stream.next().await.unwrap().unwrap();
        let last = !part.more_follows;
        parts.push(part);
        if last {
            return parts;
        }
    }
}

#[tokio::test]
async fn a_snapshot_travels_in_parts_of_a_bounded_size() {
    let world = world().await;
    revoke_many(&world, 1000).await;
    let mut client = trust(&world);
    let mut watch_since = async |since_version: &str| {
        let request = v1::WatchTrustRequest { since_version: since_version.to_owned() };
        step(client.watch_trust(request).await.unwrap().get_mut()).await
    };
    let parts = watch_since("").await;
    assert!(parts[0].snapshot && !parts[0].keys.is_empty());
    let (last, before) = parts.split_last().unwrap();
    assert!(!before.is_empty() && before.iter().all(|part| part.version.is_empty()));
    assert!(before[1..].iter().all(|part| !part.snapshot && part.keys.is_empty()));
    assert!(!last.version.is_empty());
    assert_eq!(parts.iter().map(|part| part.revocations.len()).sum::<usize>(), 1000);
    assert!(parts.iter().all(|part| prost::Message::encoded_len(part) < 32 * 1024));
    // A watcher that resumes from an earlier version gets only the later revocations.
    revoke_many(&world, 1003).await;
    let resumed = watch_since(&last.version).await;
    assert_eq!(resumed.iter().map(|part| part.revocations.len()).sum::<usize>(), 3);
}

#[tokio::test]
async fn a_watcher_that_falls_behind_is_sent_every_revocation() {
    let world = world().await;
    let mut stream = watch(&world, "").await;
    step(&mut stream).await;
    revoke_many(&world, 1000).await;
    let mut received = 0;
    while received < 1000 {
        received += step(&mut stream).await.iter().map(|part| part.revocations.len()).sum::<usize>();
    }
    assert_eq!(received, 1000);
}

#[tokio::test]
async fn a_pushed_revocation_names_no_token_and_no_client() {
    let world = world().await;
    let (token_id, _) = revoked_token(&world).await;
    let operator = token_issuer::admin::Operator::local("test");
    world.revoking.revoke_client_tokens(&operator, "with-claims", None).await.unwrap();
    let sent = format!("{:?}", step(&mut watch(&world, "").await).await);
    assert!(sent.contains("TokenHash") && sent.contains("ClientHash"));
    assert!(!sent.contains(&token_id) && !sent.contains("with-claims") && !sent.contains("orders"));
}

#[tokio::test]
async fn trust_streams_of_one_peer_are_bounded() {
    let world = world_with(|settings| settings.trust_streams.streams_per_peer = 2).await;
    let mut client = trust(&world);
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(client.watch_trust(v1::WatchTrustRequest::default()).await.unwrap());
    }
    let refused = client.watch_trust(v1::WatchTrustRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), (tonic::Code::ResourceExhausted, "RATE_LIMITED".to_owned()));
    open.pop();
    client.watch_trust(v1::WatchTrustRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_trust_stream_may_demand_a_client_certificate() {
    let world = world_with(|settings| settings.trust_streams.client_certificate_required = true).await;
    let refused = trust(&world).watch_trust(v1::WatchTrustRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    trust(&world).get_issuer(v1::GetIssuerRequest {}).await.unwrap();
}
