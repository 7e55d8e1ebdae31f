//! A client's stream that goes on with the next token before the server ends the last one.

use std::sync::atomic::{AtomicU32, Ordering};

use token_interceptor::refresh::FreshToken;
use tonic::Streaming;

use super::*;

const LIST: &str = "/inventory.v1.InventoryService/ListItems";

/// The pattern of `recipes.md`.
async fn follow<F>(token: FreshToken, mut open: impl FnMut() -> F) -> Result<(), Status>
where
    F: Future<Output = Result<Streaming<ListItemsResponse>, Status>>,
{
    let mut renewed = Box::pin(token.renewed());
    let mut items = open().await?;
    loop {
        tokio::select! {
            item = items.message() => if item?.is_none() { return Ok(()) },
            () = &mut renewed => {
                renewed = Box::pin(token.renewed());
                items = open().await?;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_reopened_with_each_token_never_ends() {
    let issuer = TestIssuer::new("https://issuer.example");
    let tokens = AttachLayer::new(issuer.source().client("shop")).policy(&policy()).clock(issuer.clock());
    let served = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let authorization = AuthorizationLayer::new(issuer.verifier(), served);
    let channel = tokens.to(&"http://127.0.0.1".parse().unwrap()).unwrap();
    let client =
        InventoryServiceClient::new(channel.layer(authorization.layer(InventoryServiceServer::new(Inventory))));
    let clock = issuer.clock();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock.advance(Duration::from_secs(1));
        }
    });
    let opened = &AtomicU32::new(0);
    let open = || {
        opened.fetch_add(1, Ordering::Relaxed);
        let mut client = client.clone();
        async move { Ok(client.list_items(ListItemsRequest::default()).await?.into_inner()) }
    };
    // Twelve lifetimes of a token.
    let hour = tokio::time::timeout(Duration::from_secs(3600), follow(tokens.token_of(LIST).unwrap(), open)).await;
    assert!(hour.is_err(), "the stream ended: {hour:?}");
    let opened = opened.load(Ordering::Relaxed);
    assert!((12..=25).contains(&opened), "opened {opened} times");
}

#[tokio::test(start_paused = true)]
async fn a_renewal_counts_once_and_the_first_token_does_not() {
    let issuer = TestIssuer::new("https://issuer.example");
    let tokens = AttachLayer::new(issuer.source()).policy(&policy()).clock(issuer.clock());
    let token = tokens.token_of(LIST).unwrap();
    assert!(tokens.token_of("/inventory.v1.InventoryService/GetOpeningHours").is_none());
    let before_the_first = tokio::spawn(token.renewed());
    let first = token.get().await.unwrap();
    let after_the_first = tokio::spawn(token.renewed());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!before_the_first.is_finished() && !after_the_first.is_finished());
    tokio::time::sleep(Duration::from_secs(235)).await;
    assert!(before_the_first.is_finished() && after_the_first.is_finished());
    assert!(token.get().await.unwrap().header() != first.header());
    let next = tokio::spawn(token.renewed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!next.is_finished());
}
