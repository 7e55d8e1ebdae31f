//! A chain of services: the shop calls the inventory on behalf of its callers, without help from its
//! handlers.

use std::{sync::Arc, time::Duration};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use token_interceptor::{
    attach::{AttachLayer, CarryCallerLayer},
    danger,
    layer::AuthorizationLayer,
    policy::Policy,
    source::{IssuerBuilder, TokenExchange},
    test_util::TestIssuer,
};
use tonic::{Code, Request, Response, Status, transport::Server};

use crate::{
    callee::Callee,
    inventory::{
        self as pb, DESCRIPTOR_SET, POLICY,
        inventory_service_client::InventoryServiceClient,
        inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME},
    },
    issuer::Issuer,
    network::{Client, host, inventory},
    simulated::{channel, connections},
};

/// A service in front of the inventory. Each handler calls the inventory and does nothing else.
struct Shop(Client);

#[tonic::async_trait]
impl InventoryService for Shop {
    type ListItemsStream = BoxStream<'static, Result<pb::ListItemsResponse, Status>>;

    async fn get_item(
        &self,
        mut request: Request<pb::GetItemRequest>,
    ) -> Result<Response<pb::GetItemResponse>, Status> {
        let mut inventory = self.0.clone();
        match &*request.get_ref().sku {
            "passed on" => inventory.get_item(request).await,
            "its fields alone" => {
                let mut next = Request::new(pb::GetItemRequest::default());
                *next.metadata_mut() = request.metadata().clone();
                inventory.get_item(next).await
            }
            "to a public method" => {
                let (metadata, extensions, _) = request.into_parts();
                let next = Request::from_parts(metadata, extensions, pb::GetOpeningHoursRequest::default());
                inventory.get_opening_hours(next).await?;
                Ok(Response::new(pb::GetItemResponse::default()))
            }
            "another token" => {
                request.metadata_mut().insert("authorization", "Bearer mine".parse().unwrap());
                inventory.get_item(request).await
            }
            _ => inventory.get_item(request.into_inner()).await,
        }
    }

    /// Calls the inventory while the stream is being read.
    async fn list_items(&self, _: Request<pb::ListItemsRequest>) -> Result<Response<Self::ListItemsStream>, Status> {
        let mut inventory = self.0.clone();
        let items = stream::once(async move {
            let answer = inventory.get_item(pb::GetItemRequest::default()).await?.into_inner();
            Ok(pb::ListItemsResponse { item: answer.item })
        });
        Ok(Response::new(items.boxed()))
    }

    /// Calls the inventory from a task of its own.
    async fn delete_item(&self, _: Request<pb::DeleteItemRequest>) -> Result<Response<pb::DeleteItemResponse>, Status> {
        let mut inventory = self.0.clone();
        let task = tokio::spawn(async move { inventory.get_item(pb::GetItemRequest::default()).await });
        task.await.unwrap()?;
        Ok(Response::new(pb::DeleteItemResponse {}))
    }

    async fn get_opening_hours(
        &self,
        _: Request<pb::GetOpeningHoursRequest>,
    ) -> Result<Response<pb::GetOpeningHoursResponse>, Status> {
        self.0.clone().get_item(pb::GetItemRequest::default()).await?;
        Ok(Response::new(pb::GetOpeningHoursResponse::default()))
    }
}

async fn serve_shop(users: Arc<TestIssuer>) -> turmoil::Result {
    let issuer = IssuerBuilder::grpc_channel(channel("issuer"), danger::AllowPlaintext);
    let source = TokenExchange::new("shop", "tks_shop", issuer)?;
    let tokens = AttachLayer::new(source).policy(POLICY).on_behalf_of_caller();
    let shop = Shop(InventoryServiceClient::new(inventory(&tokens)));
    let policy = Policy::new(POLICY)?.serves(DESCRIPTOR_SET, &[SERVICE_NAME])?;
    Server::builder()
        .layer(AuthorizationLayer::new(users.verifier(), policy))
        .layer(CarryCallerLayer)
        .add_service(InventoryServiceServer::new(shop))
        .serve_with_incoming(connections().await?)
        .await?;
    Ok(())
}

fn simulate<F>(
    test: impl FnOnce(InventoryServiceClient<tonic::transport::Channel>, Arc<TestIssuer>, Arc<Issuer>, Arc<Callee>) -> F
    + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new().simulation_duration(Duration::from_secs(20)).enable_tokio_io().build();
    let (issuer, callee) = host(&mut sim);
    let users = Arc::new(TestIssuer::new("https://users.example"));
    let known = Arc::clone(&users);
    sim.host("shop", move || serve_shop(Arc::clone(&known)));
    sim.client("user", async move {
        test(InventoryServiceClient::new(channel("shop")), users, issuer, callee).await;
        Ok(())
    });
    sim.run().unwrap();
}

fn as_user<T>(users: &TestIssuer, name: &str, message: T) -> (Request<T>, String) {
    let token = users.token().audience("inventory").scope("inventory.read inventory.write").client(name).sign();
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    (request, token)
}

#[test]
fn a_handler_calls_on_behalf_of_its_caller_and_does_not_know() {
    simulate(|mut shop, users, issuer, callee| async move {
        let (request, alice) = as_user(&users, "alice", pb::GetItemRequest::default());
        shop.get_item(request).await.unwrap();
        let exchanged = issuer.exchanged.lock().unwrap().clone();
        assert_eq!(exchanged.len(), 1);
        assert_eq!(exchanged[0].subject.as_ref().unwrap().value, alice);
        assert_eq!(exchanged[0].client.as_ref().unwrap().client_id, "shop");
        assert_eq!(
            (&*exchanged[0].audiences.join(" "), &*exchanged[0].scopes.join(" ")),
            ("inventory", "inventory.read")
        );
        assert_eq!(callee.tokens(), [Some("exchanged-1".into())], "never the caller's own");
        assert_eq!(issuer.requests(), 0, "and never the shop's own");
    });
}

#[test]
fn each_caller_has_a_token_of_their_own_and_keeps_it() {
    simulate(|mut shop, users, issuer, callee| async move {
        let (alice, bob) = (
            as_user(&users, "alice", pb::GetItemRequest::default()).0,
            as_user(&users, "bob", pb::GetItemRequest::default()).0,
        );
        let again = |request: &Request<pb::GetItemRequest>| {
            let mut again = Request::new(pb::GetItemRequest::default());
            *again.metadata_mut() = request.metadata().clone();
            again
        };
        for request in [&alice, &bob, &alice, &bob] {
            shop.get_item(again(request)).await.unwrap();
        }
        let tokens: Vec<_> = callee.attempts().into_iter().map(|attempt| attempt.token.unwrap()).collect();
        assert_eq!(tokens, ["exchanged-1", "exchanged-2", "exchanged-1", "exchanged-2"]);
        assert_eq!(issuer.exchanged.lock().unwrap().len(), 2);
    });
}

#[test]
fn a_stream_too_is_on_behalf_of_its_caller() {
    simulate(|mut shop, users, _, callee| async move {
        let (request, _) = as_user(&users, "alice", pb::ListItemsRequest {});
        let mut items = shop.list_items(request).await.unwrap().into_inner();
        items.message().await.unwrap().unwrap();
        assert_eq!(callee.tokens(), [Some("exchanged-1".into())]);
    });
}

#[test]
fn without_a_caller_there_is_no_call() {
    simulate(|mut shop, users, issuer, callee| async move {
        // A public method has no caller, and a spawned task has lost its caller.
        let status = shop.get_opening_hours(pb::GetOpeningHoursRequest {}).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        let (request, _) = as_user(&users, "alice", pb::DeleteItemRequest::default());
        assert_eq!(shop.delete_item(request).await.unwrap_err().code(), Code::FailedPrecondition);
        assert!(callee.attempts().is_empty());
        assert_eq!(issuer.exchanged.lock().unwrap().len() + issuer.requests(), 0);
    });
}

fn item(sku: &str) -> pb::GetItemRequest {
    pb::GetItemRequest { sku: sku.to_owned() }
}

#[test]
fn a_request_that_is_passed_on_leaves_the_callers_token_behind() {
    for sku in ["passed on", "its fields alone"] {
        simulate(move |mut shop, users, issuer, callee| async move {
            shop.get_item(as_user(&users, "alice", item(sku)).0).await.unwrap();
            assert_eq!(callee.tokens(), [Some("exchanged-1".into())], "{sku}");
            assert_eq!(issuer.exchanged.lock().unwrap().len(), 1);
        });
    }
}

#[test]
fn a_public_method_does_not_see_the_callers_token() {
    simulate(|mut shop, users, issuer, callee| async move {
        shop.get_item(as_user(&users, "alice", item("to a public method")).0).await.unwrap();
        assert_eq!(callee.tokens(), [None]);
        assert_eq!(issuer.exchanged.lock().unwrap().len(), 0);
    });
}

#[test]
fn another_header_on_behalf_of_a_caller_is_refused() {
    simulate(|mut shop, users, _, callee| async move {
        let status = shop.get_item(as_user(&users, "alice", item("another token")).0).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert!(callee.attempts().is_empty());
    });
}
