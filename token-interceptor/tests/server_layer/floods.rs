//! A flood of invented key IDs costs a few fetches, and does not disturb other callers.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    http_issuer::Keys,
    network::{World, simulate},
};

/// Floods for ten seconds: every ten milliseconds `calls_per_round` calls, each with a key ID of its own. A
/// known caller is never delayed meanwhile. Returns the number of fetches.
async fn flood(world: &World, calls_per_round: usize) -> usize {
    let good = world.issuer.signer.token().sign();
    let (_, rest) = good.split_once('.').unwrap();
    world.call(&good).await.unwrap();
    let before = world.issuer.fetches();
    let mut calls = JoinSet::new();
    for round in 0..1000 {
        for number in 0..calls_per_round {
            let header = format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{round}-{number}"}}"#);
            let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header));
            let world = world.clone();
            calls.spawn(async move { world.call(&token).await });
        }
        let start = Instant::now();
        world.call(&good).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        tokio::time::sleep(Duration::from_millis(10)).await;
        while let Some(call) = calls.try_join_next() {
            call.unwrap().unwrap_err();
        }
    }
    world.issuer.fetches() - before
}

#[test]
fn a_hundred_thousand_invented_keys_against_a_hanging_issuer_cost_two_fetches_in_ten_seconds() {
    simulate(Duration::from_secs(60), |world| async move {
        world.call(&world.issuer.signer.token().sign()).await.unwrap();
        world.issuer.set_keys(Keys::Hangs);
        assert!(flood(&world, 100).await <= 2);
    });
}

#[test]
fn a_flood_against_a_healthy_issuer_hides_no_new_key() {
    simulate(Duration::from_secs(60), |world| async move {
        let rotated = world.issuer.signer.rotated();
        world.call(&world.issuer.signer.token().sign()).await.unwrap();
        let flooded = world.clone();
        let fetches = tokio::spawn(async move { flood(&flooded, 10).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let both = [&world.issuer.signer, &rotated].map(|issuer| issuer.key().public_jwk().to_json()).join(",");
        world.issuer.set_keys(Keys::Served(format!(r#"{{"keys":[{both}]}}"#)));
        let (start, token) = (Instant::now(), rotated.token().sign());
        while world.call(&token).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(start.elapsed() < Duration::from_secs(10));
        assert!(fetches.await.unwrap() <= 2);
    });
}
