//! After any class of error, the same channel soon has a token again.

use std::time::Duration;

use token_interceptor::status::Answer;
use token_proto::token::v1::ErrorReason;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    issuer::Behaviour,
    network::{World, simulate, simulate_coarsely},
    outages::call,
};

const HEALED: Duration = Duration::from_secs(30);

fn failing(reason: ErrorReason) -> Behaviour {
    Behaviour::Fail(Duration::ZERO, Answer::new(reason, "no"))
}

/// Returns the time from the issuer's recovery until calls succeed again.
async fn healed_in(world: &World) -> Duration {
    let recovered = Instant::now();
    while call(world.client.clone()).await.0.is_err() {
        sleep(Duration::from_millis(200)).await;
        assert!(recovered.elapsed() < Duration::from_secs(120), "never");
    }
    recovered.elapsed()
}

#[test]
fn every_class_of_error_heals_within_30_s() {
    for behaviour in [
        failing(ErrorReason::IssuerUnavailable),
        failing(ErrorReason::RateLimited),
        failing(ErrorReason::Internal),
        Behaviour::Broken(Code::Unknown),
        Behaviour::Broken(Code::Unimplemented),
        Behaviour::Broken(Code::NotFound),
        Behaviour::Broken(Code::Unavailable),
        Behaviour::Broken(Code::DeadlineExceeded),
        Behaviour::Broken(Code::ResourceExhausted),
        Behaviour::Broken(Code::Cancelled),
        Behaviour::Broken(Code::Aborted),
        Behaviour::Broken(Code::DataLoss),
        Behaviour::Garbage,
        Behaviour::Stall(Duration::from_secs(3600)),
    ] {
        simulate_coarsely(Duration::from_secs(400), |world| async move {
            world.issuer.set(behaviour.clone());
            call(world.client.clone()).await.0.unwrap_err();
            // Long enough for the pauses to reach their maximum.
            sleep(Duration::from_secs(120)).await;
            world.issuer.set(Behaviour::Issue);
            let took = healed_in(&world).await;
            assert!(took < HEALED + Duration::from_secs(1), "{behaviour:?}: {took:?}");
        });
    }
}

#[test]
fn a_network_that_was_cut_heals_within_30_s() {
    simulate_coarsely(Duration::from_secs(600), |world| async move {
        world.issuer.lifetime(20, 10);
        call(world.client.clone()).await.0.unwrap();
        turmoil::partition("client", "issuer");
        sleep(Duration::from_secs(180)).await;
        assert_eq!(call(world.client.clone()).await.0.unwrap_err().code(), Code::Unavailable);
        turmoil::repair("client", "issuer");
        let took = healed_in(&world).await;
        assert!(took < HEALED + Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn an_issuer_that_recovers_just_after_an_attempt_hung_heals_within_30_s() {
    simulate_coarsely(Duration::from_secs(600), |world| async move {
        world.issuer.set(Behaviour::Stall(Duration::from_secs(3600)));
        call(world.client.clone()).await.0.unwrap_err();
        let attempts = world.issuer.requests();
        while world.issuer.requests() == attempts {
            sleep(Duration::from_millis(20)).await;
        }
        // The hanging attempt still hangs. The next one is answered.
        world.issuer.set(Behaviour::Issue);
        let took = healed_in(&world).await;
        assert!(took < HEALED + Duration::from_secs(1), "{took:?}");
    });
}

#[test]
fn an_issuer_that_asks_for_7_s_of_peace_has_them() {
    simulate(Duration::from_secs(60), |world| async move {
        let busy = Answer::new(ErrorReason::RateLimited, "busy").retry_after(Duration::from_secs(7));
        world.issuer.set(Behaviour::Fail(Duration::ZERO, busy));
        let status = call(world.client.clone()).await.0.unwrap_err();
        let told = status.get_details_retry_info().unwrap().retry_delay.unwrap();
        assert!((Duration::from_secs(7)..Duration::from_secs(8)).contains(&told), "callers are told: {told:?}");
        world.issuer.set(Behaviour::Issue);
        for _ in 0..69 {
            call(world.client.clone()).await.0.unwrap_err();
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(world.issuer.requests(), 1);
        sleep(Duration::from_secs(1)).await;
        call(world.client.clone()).await.0.unwrap();
    });
}

#[test]
fn wrong_credentials_read_unauthenticated_and_are_remembered_but_never_for_good() {
    simulate_coarsely(Duration::from_secs(500), |world| async move {
        world.issuer.set(failing(ErrorReason::ClientAuthenticationFailed));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(240) {
            let status = call(world.client.clone()).await.0.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated);
            assert_eq!(status.get_details_error_info().unwrap().reason, "CLIENT_AUTHENTICATION_FAILED");
            sleep(Duration::from_millis(100)).await;
        }
        let pauses = world.issuer.pauses();
        assert!(pauses[0] >= Duration::from_secs(1) && pauses[0] < Duration::from_secs(2), "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause < Duration::from_secs(61)), "{pauses:?}");
        assert!(pauses.len() < 11, "{pauses:?}");
        world.issuer.set(Behaviour::Issue);
        assert!(healed_in(&world).await < Duration::from_secs(61));
    });
}

#[test]
fn a_refusal_causes_no_request_while_no_call_needs_a_token() {
    simulate_coarsely(Duration::from_secs(300), |world| async move {
        world.issuer.set(failing(ErrorReason::InvalidScope));
        call(world.client.clone()).await.0.unwrap_err();
        sleep(Duration::from_secs(200)).await;
        assert_eq!(world.issuer.requests(), 1);
    });
}
