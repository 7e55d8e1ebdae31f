//! Issuing hardly uses the store.

use tonic::Code;

use crate::support::{
    calls::{grpc, message, message_of_orders, post_as_orders, reason},
    world,
};

#[tokio::test]
async fn issuing_writes_nothing_to_the_store() {
    let world = world().await;
    for _ in 0..100 {
        assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
        assert_eq!(post_as_orders(&world, "").await.status, 200);
    }
    assert!(grpc(&world).issue_token(message("stranger", "x")).await.is_err());
    assert_eq!(world.store.writes(), 0);
    assert!(world.store.reads() > 0);
}

#[tokio::test]
async fn store_out_of_reach_is_unavailable_and_never_a_wrong_secret() {
    let world = world().await;
    world.store.set_out_of_reach(true);
    let status = grpc(&world).issue_token(message("never-seen", &world.secret)).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unavailable, "ISSUER_UNAVAILABLE".to_owned()));
    assert!(!status.message().contains("disk"), "{}", status.message());
    let answer = crate::support::calls::post(
        &world,
        "grant_type=client_credentials&client_id=never-seen-either&client_secret=x",
    )
    .await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".to_owned()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("disk"));
}

#[tokio::test]
async fn known_client_gets_tokens_while_the_store_is_out_of_reach() {
    let world = world().await;
    assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
    world.store.set_out_of_reach(true);
    assert!(grpc(&world).issue_token(message_of_orders(&world)).await.is_ok());
    assert_eq!(post_as_orders(&world, "").await.status, 200);
}
