//! Least privilege from the proto; no token where it does not belong.

use std::time::Duration;

use token_interceptor::{
    attach::AttachLayer,
    source::{StaticToken, TokenRequest},
    status::Answer,
};
use token_proto::token::v1::ErrorReason;
use tonic::{Code, Request, transport::Endpoint};
use tonic_types::StatusExt as _;

use crate::{
    inventory::{
        DeleteItemRequest, GetItemRequest, GetOpeningHoursRequest, ListItemsRequest, POLICY,
        inventory_service_client::InventoryServiceClient,
    },
    issuer::Behaviour,
    network::{World, inventory, simulate},
    simulated::channel,
};

#[test]
fn each_method_asks_for_what_it_demands_and_equal_demands_share_a_token() {
    simulate(Duration::from_secs(20), |world| async move {
        let mut client = world.client.clone();
        client.get_item(GetItemRequest::default()).await.unwrap();
        client.list_items(ListItemsRequest {}).await.unwrap();
        client.delete_item(DeleteItemRequest::default()).await.unwrap();
        assert_eq!(world.issuer.asked_for(), ["inventory: inventory.read", "inventory: inventory.write"]);
    });
}

#[test]
fn a_public_method_gets_no_token_and_asks_for_none() {
    simulate(Duration::from_secs(20), |world| async move {
        world.client.clone().get_opening_hours(GetOpeningHoursRequest {}).await.unwrap();
        assert_eq!(world.callee.tokens(), [None]);
        assert_eq!(world.issuer.requests(), 0);
    });
}

#[test]
fn methods_that_a_program_names_share_one_token_for_their_audience() {
    simulate(Duration::from_secs(20), |World { tokens, issuer, callee, .. }| async move {
        let tokens = tokens.sharing(&["/inventory.v1.InventoryService/*"]).unwrap();
        let mut client = InventoryServiceClient::new(inventory(&tokens));
        client.get_item(GetItemRequest::default()).await.unwrap();
        client.delete_item(DeleteItemRequest::default()).await.unwrap();
        assert_eq!(issuer.asked_for(), ["inventory: inventory.read inventory.write"]);
        assert_eq!(callee.tokens(), [Some("token-1".into())]);
    });
}

#[test]
fn methods_of_a_policy_that_is_added_later_share_by_their_prefix() {
    let (mut first, mut later) = (POLICY.to_vec(), POLICY.to_vec());
    first.retain(|method| method.path.ends_with("/GetItem"));
    later.retain(|method| method.path.ends_with("/DeleteItem"));
    simulate(Duration::from_secs(20), move |World { issuer, callee, clock, .. }| async move {
        let tokens = World::without_policy().policy(&first).clock(clock);
        let tokens = tokens.sharing(&["/inventory.v1.InventoryService/*"]).unwrap().policy(&later);
        let mut client = InventoryServiceClient::new(inventory(&tokens));
        client.delete_item(DeleteItemRequest::default()).await.unwrap();
        client.get_item(GetItemRequest::default()).await.unwrap();
        assert_eq!(issuer.asked_for(), ["inventory: inventory.read inventory.write"]);
        assert_eq!(callee.tokens(), [Some("token-1".into())]);
    });
}

#[test]
fn a_single_call_may_ask_for_something_else() {
    simulate(Duration::from_secs(20), |world| async move {
        let mut request = Request::new(DeleteItemRequest::default());
        request.extensions_mut().insert(TokenRequest::for_audience("warehouse").with_scopes(["b", "a", "b"]));
        world.client.clone().delete_item(request).await.unwrap();
        assert_eq!(world.issuer.asked_for(), ["warehouse: a b"]);
    });
}

#[test]
fn a_token_that_must_be_young_is_replaced_before_it_is_old() {
    simulate(Duration::from_secs(60), |world| async move {
        world.issuer.lifetime(3600, 1800);
        let young = TokenRequest::for_audience("inventory").with_max_age(Some(Duration::from_secs(10)));
        for _ in 0..60 {
            let mut request = Request::new(GetItemRequest::default());
            request.extensions_mut().insert(young.clone());
            world.client.clone().get_item(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let pauses = world.issuer.pauses();
        // Between 65 and 80 % of the ten seconds.
        let in_time = |pause: &Duration| (Duration::from_millis(6500)..Duration::from_millis(8100)).contains(pause);
        assert!(pauses.len() >= 3 && pauses.iter().all(in_time), "{pauses:?}");
    });
}

#[test]
fn a_scope_that_the_issuer_does_not_grant_is_named_and_costs_only_what_demands_it() {
    simulate(Duration::from_secs(20), |world| async move {
        let mut client = world.client.clone();
        client.get_item(GetItemRequest::default()).await.unwrap();
        world.issuer.set(Behaviour::Fail(Duration::ZERO, Answer::new(ErrorReason::InvalidScope, "no")));
        let status = client.delete_item(DeleteItemRequest::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        let metadata = status.get_details_error_info().unwrap().metadata;
        assert_eq!((&*metadata["scope"], &*metadata["cause"]), ("inventory.write", "invalid_scope"));
        assert!(status.message().contains("(invalid_scope)"), "{status}");
        client.get_item(GetItemRequest::default()).await.unwrap();
    });
}

#[test]
fn a_call_that_brings_its_own_authorization_keeps_it() {
    simulate(Duration::from_secs(20), |world| async move {
        let mut request = Request::new(GetItemRequest::default());
        request.metadata_mut().insert("authorization", "Bearer mine".parse().unwrap());
        world.client.clone().get_item(request).await.unwrap();
        assert_eq!(world.callee.tokens(), [Some("mine".into())]);
        assert_eq!(world.issuer.requests(), 0);
    });
}

#[test]
fn plaintext_to_another_machine_is_refused_before_a_byte_leaves() {
    simulate(Duration::from_secs(20), |world| async move {
        let tokens = AttachLayer::new(StaticToken::new("secret").unwrap()).policy(POLICY);
        let plaintext = Endpoint::from_static("http://inventory:50051");
        let tls = Endpoint::from_static("https://inventory");
        let refused = tokens.to(plaintext.uri()).unwrap_err();
        assert!(refused.to_string().contains("http://inventory is plaintext"), "{refused}");
        assert!(tokens.connect_lazy(&plaintext).is_err());
        assert!(tokens.balance_list([tls.clone(), plaintext.clone()]).is_err());
        assert!(tokens.connect_lazy(&tls).is_ok() && tokens.balance_list([tls.clone(), tls]).is_ok());
        // The scheme of the request decides, even if the channel is known to be safe.
        let safe = tokens.to(&"https://inventory".parse().unwrap()).unwrap();
        let mut client = InventoryServiceClient::with_origin(
            safe.layer(channel("inventory")),
            "http://inventory:50051".parse().unwrap(),
        );
        assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap_err().code(), Code::FailedPrecondition);
        assert!(world.callee.attempts().is_empty());
    });
}
