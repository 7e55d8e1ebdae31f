//! Outages: no call waits, failures are shared, and a token is used until it expires and not after.

use std::time::Duration;

use futures_util::future::join_all;
use token_interceptor::{danger, status::Answer};
use token_proto::token::v1::ErrorReason;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    inventory::{GetItemRequest, GetOpeningHoursRequest, inventory_service_client::InventoryServiceClient},
    issuer::Behaviour,
    network::{Client, UNDELAYED, simulate, simulate_coarsely},
};

/// Makes one call and measures its time.
pub async fn call(mut client: Client) -> (Result<(), Status>, Duration) {
    let start = Instant::now();
    let outcome = client.get_item(GetItemRequest::default()).await.map(|_| ());
    (outcome, start.elapsed())
}

fn outage() -> Behaviour {
    Behaviour::Fail(Duration::ZERO, Answer::new(ErrorReason::IssuerUnavailable, "down"))
}

#[test]
fn a_stalled_issuer_in_the_renewal_window_delays_none_of_ten_thousand_calls() {
    simulate(Duration::from_secs(120), |world| async move {
        let start = Instant::now();
        world.issuer.lifetime(60, 20);
        call(world.client.clone()).await.0.unwrap();
        world.issuer.set(Behaviour::Stall(Duration::from_secs(30)));
        sleep_until(start + Duration::from_secs(20)).await;
        let mut slowest = Duration::ZERO;
        for _ in 0..100 {
            let calls = join_all((0..100).map(|_| call(world.client.clone()))).await;
            for (outcome, took) in calls {
                outcome.unwrap();
                slowest = slowest.max(took);
            }
            sleep(Duration::from_millis(290)).await;
        }
        assert!(slowest < UNDELAYED, "{slowest:?}");
        assert_eq!(world.callee.handled(), 10_001);
        assert_eq!(world.issuer.requests(), 2, "the first token, and one renewal");
        sleep_until(start + Duration::from_secs(52)).await;
        call(world.client.clone()).await.0.unwrap();
        assert_eq!(world.callee.tokens(), [Some("token-1".into()), Some("token-2".into())]);
    });
}

#[test]
fn a_thousand_callers_share_one_request_and_its_failure() {
    simulate(Duration::from_secs(10), |world| async move {
        let down = Answer::new(ErrorReason::IssuerUnavailable, "down");
        world.issuer.set(Behaviour::Fail(Duration::from_millis(50), down));
        let calls = join_all((0..1000).map(|_| call(world.client.clone()))).await;
        assert_eq!(world.issuer.requests(), 1);
        for (outcome, took) in calls {
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            assert_eq!(status.get_details_error_info().unwrap().reason, "ISSUER_UNAVAILABLE");
            assert!(took < Duration::from_millis(70), "{took:?}");
        }
        assert_eq!(world.callee.attempts().len(), 0, "no call went out without a token");
    });
}

#[test]
fn the_issuer_is_left_alone_for_longer_and_longer_up_to_30_s() {
    simulate_coarsely(Duration::from_secs(400), |world| async move {
        world.issuer.set(outage());
        call(world.client.clone()).await.0.unwrap_err();
        sleep(Duration::from_secs(300)).await;
        let pauses = world.issuer.pauses();
        assert!(pauses.iter().all(|pause| *pause >= Duration::from_millis(50)), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(30_100)), "{pauses:?}");
        // Full jitter halves each pause on average: 10 growing ones, then 15 s each.
        assert!((15..60).contains(&pauses.len()), "{pauses:?}");
        let (early, late) = (pauses[..5].iter().sum::<Duration>(), pauses[pauses.len() - 5..].iter().sum::<Duration>());
        assert!(early < late, "{pauses:?}");
    });
}

#[test]
fn a_token_is_used_until_it_expires_and_never_past_that() {
    simulate(Duration::from_secs(120), |world| async move {
        let start = Instant::now();
        world.issuer.lifetime(30, 15);
        call(world.client.clone()).await.0.unwrap();
        world.issuer.set(outage());
        while start.elapsed() < Duration::from_millis(29_700) {
            let (outcome, took) = call(world.client.clone()).await;
            outcome.unwrap();
            assert!(took < UNDELAYED, "{took:?}");
            sleep(Duration::from_millis(200)).await;
        }
        sleep_until(start + Duration::from_secs(30)).await;
        let served = world.callee.attempts().len();
        for _ in 0..100 {
            let (outcome, took) = call(world.client.clone()).await;
            let status = outcome.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable);
            assert!(status.get_details_retry_info().is_some());
            assert!(took < Duration::from_millis(5), "{took:?}");
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.callee.attempts().len(), served, "nothing expired was sent");
    });
}

#[test]
fn a_callers_deadline_is_kept_while_the_first_token_is_obtained() {
    simulate(Duration::from_secs(20), |world| async move {
        world.issuer.set(Behaviour::Stall(Duration::from_secs(5)));
        let mut request = tonic::Request::new(GetItemRequest::default());
        request.set_timeout(Duration::from_millis(300));
        let start = Instant::now();
        let status = world.client.clone().get_item(request).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(start.elapsed() < Duration::from_millis(310));
        // The rest of a longer deadline is sent with the call.
        let mut request = tonic::Request::new(GetItemRequest::default());
        request.set_timeout(Duration::from_secs(9));
        world.client.clone().get_item(request).await.unwrap();
        let timeout = world.callee.attempts().last().unwrap().timeout.clone().unwrap();
        assert!(timeout.starts_with("42") || timeout.starts_with("43"), "{timeout}: 9 s less 4.7 s");
        assert_eq!(world.issuer.requests(), 1);
    });
}

#[test]
fn a_call_without_a_deadline_does_not_wait_for_ever() {
    simulate(Duration::from_secs(60), |world| async move {
        world.issuer.set(Behaviour::Stall(Duration::from_secs(30)));
        let (outcome, took) = call(world.client.clone()).await;
        assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
        assert!(took < Duration::from_millis(10_010), "{took:?}");
    });
}

#[test]
fn the_interceptor_never_waits() {
    simulate(Duration::from_secs(60), |world| async move {
        use token_interceptor::source::TokenRequest;
        let request = TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]);
        let interceptor = world.tokens.any_destination(danger::AllowPlaintext).interceptor(request);
        let channel = crate::simulated::channel("inventory");
        let mut client =
            crate::inventory::inventory_service_client::InventoryServiceClient::with_interceptor(channel, interceptor);
        world.issuer.set(Behaviour::Stall(Duration::from_secs(1)));
        let start = Instant::now();
        let status = client.get_item(GetItemRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_error_info().unwrap().reason, "ISSUER_UNAVAILABLE");
        assert!(start.elapsed() < Duration::from_millis(2));
        sleep(Duration::from_secs(2)).await;
        client.get_item(GetItemRequest::default()).await.unwrap();
        assert_eq!(world.issuer.requests(), 1);
    });
}

#[test]
fn calls_that_wait_for_a_token_hold_up_no_call_that_needs_none() {
    simulate(Duration::from_secs(30), |world| async move {
        world.issuer.set(Behaviour::Stall(Duration::from_secs(20)));
        let tokens = world.tokens.any_destination(danger::AllowPlaintext);
        let endpoint = crate::simulated::channel("inventory");
        let client = InventoryServiceClient::new(tower::Layer::layer(&tokens, endpoint));
        let waiting: Vec<_> = (0..2000).map(|_| tokio::spawn(call(client.clone()))).collect();
        sleep(Duration::from_millis(100)).await;
        let start = Instant::now();
        client.clone().get_opening_hours(GetOpeningHoursRequest {}).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        for call in waiting {
            call.await.unwrap().0.unwrap_err();
        }
    });
}
