//! Key sets through outages, rotations and invalid answers.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    http_issuer::Keys,
    network::{reason, retry_after, simulate, simulate_with},
};

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_outage_of_an_hour_refuses_no_known_key() {
    simulate(70 * MINUTE, |world| async move {
        let good = world.issuer.signer.token().sign();
        world.call(&good).await.unwrap();
        turmoil::partition("service", "issuer");
        for _ in 0..60 {
            sleep(MINUTE).await;
            world.call(&good).await.unwrap();
            retry_after(world.call(&world.token_of_key("unknown")).await);
        }
        turmoil::repair("service", "issuer");
        sleep(2 * MINUTE).await;
        assert_eq!(reason(world.call(&world.token_of_key("unknown")).await), "TOKEN_KEY_UNKNOWN");
    });
}

#[test]
fn an_issuer_that_is_down_at_the_start_is_waited_for() {
    simulate(10 * MINUTE, |world| async move {
        turmoil::partition("service", "issuer");
        let good = world.issuer.signer.token().sign();
        let start = Instant::now();
        assert!(retry_after(world.call(&good).await) <= Duration::from_secs(7));
        assert!(start.elapsed() <= Duration::from_secs(2), "a call waits two seconds for its key at most");
        sleep(MINUTE).await;
        let start = Instant::now();
        retry_after(world.call(&good).await);
        assert!(start.elapsed() <= Duration::from_secs(2));
        turmoil::repair("service", "issuer");
        let start = Instant::now();
        while world.call(&good).await.is_err() {
            sleep(Duration::from_millis(100)).await;
        }
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    });
}

#[test]
fn a_verifier_is_ready_once_the_keys_of_its_issuers_are_there() {
    simulate(10 * MINUTE, |world| async move {
        turmoil::partition("service", "issuer");
        let verifier = world.verifier.clone();
        assert!(timeout(MINUTE, verifier.ready()).await.is_err(), "the issuer is unreachable");
        turmoil::repair("service", "issuer");
        timeout(MINUTE, verifier.ready()).await.unwrap();
        let start = Instant::now();
        world.call(&world.issuer.signer.token().sign()).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(10), "no call waits for a key any more");
        turmoil::partition("service", "issuer");
        timeout(Duration::from_secs(1), verifier.ready()).await.expect("keys in memory are there");
    });
}

#[test]
fn the_first_token_of_a_new_key_waits_for_the_fetch_and_is_accepted() {
    simulate(MINUTE, |world| async move {
        world.call(&world.issuer.signer.token().sign()).await.unwrap();
        let rotated = world.issuer.signer.rotated();
        world.issuer.set_keys(Keys::Served(rotated.jwks()));
        let start = Instant::now();
        world.call(&rotated.token().sign()).await.unwrap();
        assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    });
}

#[test]
fn a_removed_key_is_refused_after_max_age_also_for_tokens_seen_before() {
    let max_age = Duration::from_secs(30);
    simulate_with(
        2 * MINUTE,
        move |trusted| trusted.max_age(max_age),
        move |world| async move {
            let good = world.issuer.signer.token().sign();
            world.call(&good).await.unwrap();
            world.issuer.set_keys(Keys::Served(r#"{"keys":[]}"#.to_owned()));
            sleep(max_age - Duration::from_secs(1)).await;
            world.call(&good).await.unwrap();
            sleep(Duration::from_secs(2)).await;
            assert_eq!(reason(world.call(&good).await), "TOKEN_KEY_UNKNOWN");
        },
    );
}

#[test]
fn a_key_set_is_fetched_once_per_max_age() {
    simulate(30 * MINUTE, |world| async move {
        let good = world.issuer.signer.token().sign();
        for _ in 0..29 {
            world.call(&good).await.unwrap();
            sleep(MINUTE).await;
        }
        assert_eq!(world.issuer.fetches(), 6);
    });
}

#[test]
fn answers_that_are_no_key_set_leave_the_held_one_as_it_is() {
    let elsewhere = "http://issuer/elsewhere".to_owned();
    for answer in [
        Keys::Fails(StatusCode::INTERNAL_SERVER_ERROR),
        Keys::Fails(StatusCode::NOT_FOUND),
        Keys::Fails(StatusCode::NO_CONTENT),
        Keys::Redirects(elsewhere),
        Keys::Served(String::new()),
        Keys::Served("<html>".to_owned()),
        Keys::Served("[]".to_owned()),
        // It lists keys, and none is usable.
        Keys::Served(r#"{"keys":[{}]}"#.to_owned()),
        Keys::Served(r#"{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"RSA","n":"AA","e":"AQAB"}]}"#.to_owned()),
        Keys::Served(format!(r#"{{"keys":["{}"]}}"#, "x".repeat(300 * 1024))),
        Keys::Hangs,
    ] {
        simulate(MINUTE, move |world| async move {
            let good = world.issuer.signer.token().sign();
            world.call(&good).await.unwrap();
            world.issuer.set_keys(answer.clone());
            retry_after(world.call(&world.token_of_key("unknown")).await);
            sleep(Duration::from_secs(6)).await;
            retry_after(world.call(&world.token_of_key("unknown")).await);
            world.call(&good).await.unwrap();
        });
    }
}

#[test]
fn the_task_ends_with_the_last_handle() {
    simulate(20 * MINUTE, |world| async move {
        world.call(&world.issuer.signer.token().sign()).await.unwrap();
        let issuer = world.issuer.clone();
        drop(world);
        let before = issuer.fetches();
        sleep(8 * MINUTE).await;
        assert_eq!(issuer.fetches(), before);
    });
}

#[test]
fn a_fetched_set_serves_no_longer_than_stale_after_where_it_is_set() {
    let stale_after = 10 * MINUTE;
    simulate_with(
        70 * MINUTE,
        move |trusted| trusted.stale_after(stale_after),
        move |world| async move {
            let good = world.issuer.signer.token().sign();
            world.call(&good).await.unwrap();
            turmoil::partition("service", "issuer");
            sleep(stale_after - MINUTE).await;
            world.call(&good).await.unwrap();
            sleep(2 * MINUTE).await;
            retry_after(world.call(&good).await);
            turmoil::repair("service", "issuer");
            sleep(2 * MINUTE).await;
            world.call(&good).await.unwrap();
        },
    );
}

#[test]
fn the_one_key_without_kid_is_looked_up_again_after_a_rotation() {
    simulate(MINUTE, |world| async move {
        let anonymous = |issuer: &token_interceptor::test_util::TestIssuer| {
            Keys::Served(issuer.jwks().replace(&format!(r#""kid":"{}","#, issuer.key_id()), ""))
        };
        world.issuer.set_keys(anonymous(&world.issuer.signer));
        world.call(&world.issuer.signer.token().without_header("kid").sign()).await.unwrap();
        let rotated = world.issuer.signer.rotated();
        world.issuer.set_keys(anonymous(&rotated));
        world.call(&rotated.token().without_header("kid").sign()).await.unwrap();
        let forged = world.issuer.signer.rotated().token().without_header("kid").sign();
        assert_eq!(reason(world.call(&forged).await), "TOKEN_INVALID");
    });
}
