//! Suspended machines, and clocks that are wrong.

use std::time::Duration;

use token_interceptor::{clock::Clock as _, source::TokenRequest};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    network::{UNDELAYED, World, simulate, true_time},
    outages::call,
};

const TWO_HOURS_MILLIS: i64 = 2 * 60 * 60 * 1000;
const TEN_MINUTES_MILLIS: i64 = 10 * 60 * 1000;

#[test]
fn after_a_suspension_a_fresh_token_comes_first() {
    simulate(Duration::from_secs(20), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        // Two hours pass on the wall clock, but not on the monotonic clock.
        world.clock.jump(TWO_HOURS_MILLIS);
        call(world.client.clone()).await.0.unwrap();
        assert_eq!(world.callee.tokens(), [Some("token-1".into()), Some("token-2".into())]);
        assert_eq!(world.issuer.requests(), 2);
    });
}

#[test]
fn no_call_waits_for_a_token_after_a_short_suspension() {
    simulate(Duration::from_secs(20), |world| async move {
        world.issuer.lifetime(60, 30);
        call(world.client.clone()).await.0.unwrap();
        world.clock.jump(40_000);
        let (outcome, took) = call(world.client.clone()).await;
        outcome.unwrap();
        assert!(took < UNDELAYED, "{took:?}");
        sleep(Duration::from_millis(100)).await;
        assert_eq!(world.issuer.requests(), 2);
    });
}

/// A clock that has been wrong from the start, by `millis`.
async fn lives_with_a_wrong_clock(world: World, millis: i64) {
    let start = Instant::now();
    world.clock.jump(millis);
    *world.issuer.server_time.lock().unwrap() = Some(true_time(start));
    world.issuer.lifetime(20, 10);
    for second in 0..35 {
        sleep_until(start + Duration::from_secs(second)).await;
        *world.issuer.server_time.lock().unwrap() = Some(true_time(start));
        let (outcome, took) = call(world.client.clone()).await;
        outcome.unwrap();
        assert!(second == 0 || took < UNDELAYED, "{took:?}");
    }
    assert_eq!(world.issuer.requests(), 4, "at 0, 10, 20 and 30 s: in time, and no more often");
    let request = TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]);
    let skew = world.tokens.token(request).clock_skew_millis();
    assert!((skew + millis).abs() < 2000, "{skew} for {millis}");
    assert!(world.clock.now() != true_time(start));
}

#[test]
fn a_clock_that_is_ten_minutes_slow_renews_in_time_and_is_reported() {
    simulate(Duration::from_secs(60), |world| lives_with_a_wrong_clock(world, -TEN_MINUTES_MILLIS));
}

#[test]
fn a_clock_that_is_ten_minutes_fast_renews_in_time_and_is_reported() {
    simulate(Duration::from_secs(60), |world| lives_with_a_wrong_clock(world, TEN_MINUTES_MILLIS));
}

#[test]
fn a_clock_that_is_set_right_meanwhile_costs_at_most_one_request() {
    simulate(Duration::from_secs(40), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        for millis in [TEN_MINUTES_MILLIS, -TEN_MINUTES_MILLIS] {
            world.clock.jump(millis);
            for _ in 0..20 {
                call(world.client.clone()).await.0.unwrap();
                sleep(Duration::from_millis(100)).await;
            }
        }
        assert!(world.issuer.requests() <= 3, "{}", world.issuer.requests());
    });
}
