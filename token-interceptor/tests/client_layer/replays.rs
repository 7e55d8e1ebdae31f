//! Calls that are sent twice, and calls that never are.

use std::time::Duration;

use futures_util::future::join_all;
use token_interceptor::source::TokenRequest;
use token_proto::token::v1::ErrorReason;
use tokio::time::sleep;
use tonic::{Code, Request};

use crate::{
    callee::{MARK, Verdict},
    inventory::{GetItemRequest, ListItemsRequest, inventory_service_client::InventoryServiceClient},
    issuer::Behaviour,
    network::{World, inventory, simulate},
    outages::call,
};

#[test]
fn a_revoked_token_costs_a_thousand_calls_one_request_and_runs_each_handler_once() {
    simulate(Duration::from_secs(20), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        let (handled, attempts) = (world.callee.handled(), world.callee.attempts().len());
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        for (outcome, _) in join_all((0..1000).map(|_| call(world.client.clone()))).await {
            outcome.unwrap();
        }
        assert_eq!(world.issuer.requests(), 2, "the first token, and its replacement");
        assert_eq!(world.callee.handled() - handled, 1000);
        let attempts = world.callee.attempts().len() - attempts;
        assert!((1000..=2000).contains(&attempts), "{attempts}");
    });
}

#[test]
fn every_reason_that_a_new_token_may_cure_is_replayed_once() {
    for reason in
        [ErrorReason::TokenInvalid, ErrorReason::TokenExpired, ErrorReason::TokenRevoked, ErrorReason::TokenKeyUnknown]
    {
        simulate(Duration::from_secs(20), move |world| async move {
            world.callee.set(Verdict::Refuse(reason));
            call(world.client.clone()).await.0.unwrap();
            assert_eq!(world.callee.tokens(), [Some("token-1".into()), Some("token-2".into())]);
            assert_eq!(world.callee.attempts().len(), 2);
        });
    }
}

#[test]
fn a_callee_that_refuses_every_token_sees_two_attempts_and_the_issuer_few_requests() {
    simulate(Duration::from_secs(60), |world| async move {
        world.callee.set(Verdict::RefuseAll(ErrorReason::TokenInvalid));
        let first = call(world.client.clone()).await.0.unwrap_err();
        assert_eq!(first.code(), Code::Unauthenticated);
        assert_eq!(world.callee.attempts().len(), 2);
        for _ in 0..200 {
            let before = world.callee.attempts().len();
            call(world.client.clone()).await.0.unwrap_err();
            assert!(world.callee.attempts().len() - before <= 2);
            sleep(Duration::from_millis(100)).await;
        }
        // Replacements at 0, 1, 3, 7 and 15 s.
        assert!(world.issuer.requests() <= 7, "{}", world.issuer.requests());
    });
}

#[test]
fn the_handlers_own_word_is_never_replayed() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::HandlerSays);
        let status = call(world.client.clone()).await.0.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "your session at the shop has ended"));
        assert_eq!((world.callee.handled(), world.issuer.requests()), (1, 1));
    });
}

#[test]
fn a_handler_that_refuses_another_token_runs_once() {
    for reason in
        [ErrorReason::TokenInvalid, ErrorReason::TokenExpired, ErrorReason::TokenRevoked, ErrorReason::TokenKeyUnknown]
    {
        simulate(Duration::from_secs(20), move |world| async move {
            world.callee.set(Verdict::HandlerRefuses(reason));
            let status = call(world.client.clone()).await.0.unwrap_err();
            assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "of another token"));
            sleep(Duration::from_secs(1)).await;
            assert_eq!((world.callee.handled(), world.issuer.requests()), (1, 1), "the token is kept");
        });
    }
}

#[test]
fn a_program_hears_no_mark_that_it_could_pass_on() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::RefuseAll(ErrorReason::TokenInvalid));
        let status = call(world.client.clone()).await.0.unwrap_err();
        assert!(!status.metadata().contains_key(MARK));
        // A call with a token of its own is not sent again either.
        let mut request = Request::new(GetItemRequest::default());
        request.metadata_mut().insert("authorization", "Bearer mine".parse().unwrap());
        let status = world.client.clone().get_item(request).await.unwrap_err();
        assert!(!status.metadata().contains_key(MARK));
    });
}

#[test]
fn a_reason_that_a_new_token_cannot_cure_is_not_replayed() {
    for reason in [
        ErrorReason::TokenAudienceMismatch,
        ErrorReason::ScopeInsufficient,
        ErrorReason::CredentialsMissing,
        ErrorReason::TrustUnavailable,
    ] {
        simulate(Duration::from_secs(20), move |world| async move {
            world.callee.set(Verdict::RefuseAll(reason));
            call(world.client.clone()).await.0.unwrap_err();
            assert_eq!((world.callee.attempts().len(), world.issuer.requests()), (1, 1), "{reason:?}");
        });
    }
}

#[test]
fn a_method_that_is_never_replayed_runs_no_second_attempt() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        let tokens = world.tokens.clone().never_replay(&["/inventory.v1.InventoryService/Get*"]).unwrap();
        let mut client = InventoryServiceClient::new(inventory(&tokens));
        client.get_item(GetItemRequest::default()).await.unwrap_err();
        assert_eq!(world.callee.attempts().len(), 1);
        sleep(Duration::from_millis(100)).await;
        client.get_item(GetItemRequest::default()).await.unwrap();
        assert!(tokens.never_replay(&["/no.Such/Method"]).is_err());
    });
}

#[test]
fn a_large_request_is_not_replayed_and_its_failure_renews_the_token() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        let request = GetItemRequest { sku: "x".repeat(65 * 1024) };
        let status = world.client.clone().get_item(request).await.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(world.callee.attempts().len(), 1);
        sleep(Duration::from_millis(100)).await;
        call(world.client.clone()).await.0.unwrap();
        assert_eq!(world.issuer.requests(), 2);
    });
}

#[test]
fn a_stream_that_is_refused_before_it_began_is_not_replayed_and_its_failure_renews_the_token() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        let refused = world.client.clone().list_items(ListItemsRequest {}).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!((world.callee.attempts().len(), world.callee.handled()), (1, 0));
        sleep(Duration::from_millis(100)).await;
        world.client.clone().list_items(ListItemsRequest {}).await.unwrap();
        assert_eq!(world.callee.tokens(), [Some("token-1".into()), Some("token-2".into())]);
        assert_eq!(world.issuer.requests(), 2);
    });
}

#[test]
fn what_no_policy_describes_may_be_a_stream_and_is_not_replayed() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        let request = TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]);
        let tokens = World::without_policy().every_call(request);
        let mut client = InventoryServiceClient::new(inventory(&tokens));
        client.get_item(GetItemRequest::default()).await.unwrap_err();
        assert_eq!(world.callee.attempts().len(), 1);
        sleep(Duration::from_millis(100)).await;
        client.get_item(GetItemRequest::default()).await.unwrap();
        assert_eq!(world.issuer.requests(), 2);
    });
}

#[test]
fn a_stream_that_is_cut_off_is_not_replayed_and_its_failure_renews_the_token() {
    simulate(Duration::from_secs(20), |world| async move {
        world.callee.set(Verdict::CutStream(ErrorReason::TokenExpired));
        let mut items = world.client.clone().list_items(ListItemsRequest {}).await.unwrap().into_inner();
        assert!(items.message().await.unwrap().is_some());
        assert_eq!(items.message().await.unwrap_err().code(), Code::Unauthenticated);
        assert_eq!(world.callee.attempts().len(), 1);
        sleep(Duration::from_millis(100)).await;
        world.callee.set(Verdict::Accept);
        call(world.client.clone()).await.0.unwrap();
        assert_eq!(world.callee.tokens(), [Some("token-1".into()), Some("token-2".into())]);
    });
}

#[test]
fn the_replay_has_what_is_left_of_the_deadline() {
    simulate(Duration::from_secs(20), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        world.issuer.set(Behaviour::Stall(Duration::from_secs(2)));
        let mut request = Request::new(GetItemRequest::default());
        request.set_timeout(Duration::from_secs(5));
        world.client.clone().get_item(request).await.unwrap();
        let timeouts: Vec<_> = world.callee.attempts().into_iter().filter_map(|attempt| attempt.timeout).collect();
        assert_eq!(timeouts.len(), 2);
        assert_eq!(timeouts[0], "5000000u");
        let rest: u64 = timeouts[1].trim_end_matches('u').parse().unwrap();
        assert!((2_900_000..3_000_000).contains(&rest), "{timeouts:?}");
    });
}

#[test]
fn no_replay_goes_out_after_the_deadline() {
    simulate(Duration::from_secs(20), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        world.issuer.set(Behaviour::Stall(Duration::from_secs(2)));
        let mut request = Request::new(GetItemRequest::default());
        request.set_timeout(Duration::from_secs(1));
        world.client.clone().get_item(request).await.unwrap_err();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(world.callee.attempts().len(), 2, "the good call, and one attempt");
    });
}

#[test]
fn without_a_new_token_the_callees_own_answer_is_returned() {
    simulate(Duration::from_secs(20), |world| async move {
        call(world.client.clone()).await.0.unwrap();
        world.callee.set(Verdict::Refuse(ErrorReason::TokenRevoked));
        world.issuer.set(Behaviour::Broken(Code::Unavailable));
        let status = call(world.client.clone()).await.0.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "refused"));
    });
}
