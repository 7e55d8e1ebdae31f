//! The layer around a real tonic server, and around an axum router.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{convert::Infallible, future::pending, pin::Pin, time::Duration};

use axum::{Extension, Router, body::to_bytes, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use inventory::{
    DeleteItemRequest, DeleteItemResponse, GetItemRequest, GetItemResponse, GetOpeningHoursRequest,
    GetOpeningHoursResponse, ListItemsRequest, ListItemsResponse,
    inventory_service_client::InventoryServiceClient,
    inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME},
};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use token_interceptor::{
    attach::AttachLayer,
    caller::Caller,
    danger,
    interceptor::AuthorizationInterceptor,
    layer::{AuthorizationLayer, DeniedCall},
    policy::{Policy, PolicyError, ServedPolicy},
    protected_resource::ProtectedResource,
    revocation::Revocations,
    test_util::TestIssuer,
    verify::Verifier,
};
use token_proto::{
    policy::{Access, MethodKind, MethodPolicy, Requirement, StreamExpiry},
    token::v1::ErrorReason,
};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _};

mod http_routes;
mod identify;
mod issuers;
mod marks;
mod policies;
mod reopened;
mod requests;
mod rollout;
mod rules;
mod schemes;
mod streams;
mod web;

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "../support/recorder.rs"]
mod recorder;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
mod inventory {
    tonic::include_proto!("inventory.v1");
}

static POLICY: &[MethodPolicy] = token_proto::include_policy!();
const DESCRIPTORS: &[u8] = token_proto::include_descriptor_set!();

struct Inventory;

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<GetItemResponse>, Status> {
        let asked_by = Caller::of(&request)?.client_id().to_owned();
        Ok(Response::new(GetItemResponse { item: None, asked_by }))
    }

    type ListItemsStream = Pin<Box<dyn Stream<Item = Result<ListItemsResponse, Status>> + Send>>;

    /// One message at once, and the next after a long time.
    async fn list_items(&self, _: Request<ListItemsRequest>) -> Result<Response<Self::ListItemsStream>, Status> {
        let first = tokio_stream::once(Ok(ListItemsResponse::default()));
        Ok(Response::new(Box::pin(first.chain(tokio_stream::pending()))))
    }

    async fn delete_item(&self, _: Request<DeleteItemRequest>) -> Result<Response<DeleteItemResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn get_opening_hours(
        &self,
        request: Request<GetOpeningHoursRequest>,
    ) -> Result<Response<GetOpeningHoursResponse>, Status> {
        assert!(request.extensions().get::<Caller>().is_none());
        Ok(Response::new(Default::default()))
    }
}

/// Only our inventory: the table holds every example's methods.
fn policy() -> Vec<MethodPolicy> {
    POLICY.iter().filter(|method| method.path.starts_with("/inventory.v1.")).cloned().collect()
}

async fn serve(layer: AuthorizationLayer) -> InventoryServiceClient<Channel> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().layer(layer).add_service(InventoryServiceServer::new(Inventory));
    tokio::spawn(server.serve_with_incoming(incoming));
    InventoryServiceClient::connect(format!("http://{address}")).await.unwrap()
}

struct Served {
    issuer: TestIssuer,
    revocations: Revocations,
    client: InventoryServiceClient<Channel>,
}

async fn served() -> Served {
    served_with(&policy()).await
}

async fn served_with(methods: &[MethodPolicy]) -> Served {
    let (issuer, revocations) = (TestIssuer::new("https://issuer.example"), Revocations::new());
    let trusted = issuer.trusted().revocations(revocations.clone());
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let policy = Policy::new(methods).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let client = serve(AuthorizationLayer::new(verifier, policy)).await;
    Served { issuer, revocations, client }
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn handlers_know_their_caller() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").client("shop").sign();
    for _ in 0..3 {
        let answer = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
        assert_eq!(answer.into_inner().asked_by, "shop");
    }
}

#[tokio::test]
async fn a_missing_token_reads_unauthenticated_with_a_bare_challenge() {
    let mut served = served().await;
    let status = served.client.get_item(GetItemRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
    assert_eq!(status.metadata().get("www-authenticate").unwrap(), "Bearer");
}

#[tokio::test]
async fn two_authorizations_are_refused_even_if_both_are_good() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    let mut request = with(&token, GetItemRequest::default());
    request.metadata_mut().append("authorization", format!("Bearer {token}").parse().unwrap());
    let status = served.client.get_item(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    let status = served.client.delete_item(with(&token, DeleteItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "SCOPE_INSUFFICIENT".into()));
    assert_eq!(status.get_details_error_info().unwrap().metadata["scope"], "inventory.write");
    assert_eq!(
        status.metadata().get("www-authenticate").unwrap(),
        r#"Bearer error="insufficient_scope", scope="inventory.write""#
    );
}

#[tokio::test]
async fn a_public_method_looks_at_no_token() {
    let mut served = served().await;
    served.client.get_opening_hours(GetOpeningHoursRequest {}).await.unwrap();
    served.client.get_opening_hours(with("rubbish", GetOpeningHoursRequest {})).await.unwrap();
}

#[tokio::test]
async fn a_token_seen_before_is_refused_once_it_has_expired() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.issuer.clock().advance(Duration::from_secs(305));
    let status = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
}

#[tokio::test]
async fn a_token_seen_before_is_refused_once_it_is_revoked() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").claim("jti", "t1");
    let (token, later) = (token.sign(), served.issuer.token().scope("inventory.read").sign());
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.revocations.revoke_token("t1", token_interceptor::clock::Clock::now(&*served.issuer.clock()));
    let status = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    served.client.get_item(with(&later, GetItemRequest::default())).await.unwrap();
}

#[tokio::test]
async fn a_token_seen_before_meets_each_methods_own_demand() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.client.delete_item(with(&token, DeleteItemRequest::default())).await.unwrap_err();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
}

#[tokio::test]
async fn callers_and_age_are_limited_where_the_method_says_so() {
    let mut methods = policy();
    for method in &mut methods {
        if let Access::Require(requirement) = &mut method.access {
            requirement.callers = vec!["shop".into(), "batch-*".into()].into();
            requirement.max_token_age = Some(Duration::from_secs(60));
        }
    }
    let mut served = served_with(&methods).await;
    let token = |client: &str| served.issuer.token().scope("inventory.read").client(client).sign();
    let (shop, batch, other) = (token("shop"), token("batch-7"), token("shopper"));
    for token in [&shop, &batch] {
        served.client.get_item(with(token, GetItemRequest::default())).await.unwrap();
    }
    let status = served.client.get_item(with(&other, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "CALLER_NOT_ALLOWED".into()));
    served.issuer.clock().advance(Duration::from_secs(66));
    let status = served.client.get_item(with(&shop, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "TOKEN_TOO_OLD".into()));
}

#[tokio::test]
async fn an_applications_client_layer_takes_its_tokens_from_the_test_issuer() {
    let issuer = TestIssuer::new("https://issuer.example");
    let tokens = AttachLayer::new(issuer.source().client("shop")).policy(&policy());
    let tokens = tokens.to(&"http://127.0.0.1".parse().unwrap()).unwrap();
    let served = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let authorization = AuthorizationLayer::new(issuer.verifier(), served);
    let service = tokens.layer(authorization.layer(InventoryServiceServer::new(Inventory)));
    let mut client = InventoryServiceClient::new(service);
    assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap().into_inner().asked_by, "shop");
    client.delete_item(DeleteItemRequest::default()).await.unwrap();
    // An hour later by the issuer's clock, the server refuses the token and the layer fetches another.
    issuer.clock().advance(Duration::from_secs(3600));
    assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap().into_inner().asked_by, "shop");
}

#[tokio::test]
async fn the_interceptor_guards_one_service() {
    let issuer = TestIssuer::new("https://issuer.example");
    let interceptor = AuthorizationInterceptor::new(issuer.verifier(), "inventory", Requirement::any_token());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = InventoryServiceServer::with_interceptor(Inventory, interceptor);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut client = InventoryServiceClient::connect(format!("http://{address}")).await.unwrap();
    let answer = client.get_item(with(&issuer.token().sign(), GetItemRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().asked_by, "orders");
    let status = client.get_item(GetItemRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
}
