//! A chain of services. Each calls the next on behalf of its caller, with exchanged tokens. The handlers
//! contain no token code.

use token_interceptor::{
    attach::{Attach, AttachLayer},
    source::{IssuerBuilder, TokenExchange},
};
use token_proto::{
    POLICY,
    admin::v1::{
        Client, CreateClientRequest, Grant, ListSigningKeysRequest, RotateSigningKeyRequest,
        client_service_client::ClientServiceClient, key_service_client::KeyServiceClient,
    },
};
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{Issuer, reason},
    service::{WhoCalled, serve},
};

const AUDIENCE: &str = "m2m.admin.v1";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// Registers a service that may call the next one to read on behalf of its callers.
async fn register(issuer: &Issuer, id: &str, grant_type: &str) -> String {
    let grant = Grant { audience: AUDIENCE.into(), scopes: vec!["keys.read".into()], default_scopes: vec![] };
    let client = Client {
        client_id: id.into(),
        grants: vec![grant],
        grant_types: vec![grant_type.into()],
        subject_audiences: vec![AUDIENCE.into()],
        ..Default::default()
    };
    let request = CreateClientRequest { client: Some(client), ..Default::default() };
    // An operator can grant a scope of the admin API only if it holds that scope: ADR 8.
    let tokens = issuer.tokens(issuer.admin()).sharing(&["/m2m.admin.v1.*"]).unwrap();
    let mut admin = ClientServiceClient::new(tokens.connect_lazy(&issuer.endpoint()).unwrap());
    let secret = admin.create_client(request).await.unwrap().into_inner().client_secret;
    issuer.keep_secret(&secret);
    secret
}

/// A client for the next service, which `id` calls on behalf of its own caller.
fn on_behalf(id: &str, secret: &str, issuer: IssuerBuilder, next: &Endpoint) -> KeyServiceClient<Attach<Channel>> {
    let source = TokenExchange::new(id, secret, issuer).unwrap();
    let tokens = AttachLayer::new(source).policy(POLICY).on_behalf_of_caller();
    KeyServiceClient::new(tokens.connect_lazy(next).unwrap())
}

/// shop → warehouse → inventory, and a client in front. All reach the issuer by `reach`.
async fn chain(issuer: &Issuer, reach: IssuerBuilder) -> KeyServiceClient<Attach<Channel>> {
    let (shop, warehouse) = (register(issuer, "shop", EXCHANGE).await, register(issuer, "warehouse", EXCHANGE).await);
    let inventory = serve(issuer, WhoCalled::default()).await;
    let behind = Some(on_behalf("warehouse", &warehouse, reach.clone(), &inventory));
    let warehouse = serve(issuer, WhoCalled { behind }).await;
    let behind = Some(on_behalf("shop", &shop, reach, &warehouse));
    let shop = serve(issuer, WhoCalled { behind }).await;
    KeyServiceClient::new(issuer.tokens(issuer.admin()).connect_lazy(&shop).unwrap())
}

#[tokio::test]
async fn every_service_knows_the_subject_and_who_acted_over_both_faces() {
    for over_grpc in [true, false] {
        let issuer = Issuer::start().await;
        let reach = match over_grpc {
            true => IssuerBuilder::grpc(issuer.endpoint()),
            false => IssuerBuilder::discover(issuer.url()).http_client(issuer.http()),
        };
        let mut shop = chain(&issuer, reach).await;
        let keys = shop.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner().keys;
        let seen: Vec<_> = keys.into_iter().map(|key| key.key_id).collect();
        assert_eq!(seen, ["token-admin", "token-admin by shop", "token-admin by warehouse < shop"]);
        issuer.stop().await;
    }
}

#[tokio::test]
async fn rights_only_narrow_along_the_chain() {
    let issuer = Issuer::start().await;
    let mut shop = chain(&issuer, IssuerBuilder::grpc(issuer.endpoint())).await;
    // The caller may, but the shop may not for any caller. A client cannot do on behalf of a caller what it
    // could not request itself.
    let status = shop.rotate_signing_key(RotateSigningKeyRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::PermissionDenied, "SCOPE_INSUFFICIENT"));
    issuer.stop().await;
}

#[tokio::test]
async fn a_service_that_is_not_registered_for_exchange_cannot_act_for_its_callers() {
    let issuer = Issuer::start().await;
    let secret = register(&issuer, "shop", "client_credentials").await;
    let inventory = serve(&issuer, WhoCalled::default()).await;
    let behind = Some(on_behalf("shop", &secret, IssuerBuilder::grpc(issuer.endpoint()), &inventory));
    let shop = serve(&issuer, WhoCalled { behind }).await;
    let mut shop = KeyServiceClient::new(issuer.tokens(issuer.admin()).connect_lazy(&shop).unwrap());
    let status = shop.list_signing_keys(ListSigningKeysRequest {}).await.unwrap_err();
    assert_eq!((status.code(), &*reason(&status)), (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED"));
    issuer.stop().await;
}
