//! An application's own service, which knows the issuer only by its URL. Clients call it through the layer,
//! with tokens that they got over gRPC or HTTP.

use secrecy::ExposeSecret as _;
use token_interceptor::{
    attach::{Attach, AttachLayer},
    source::{ClientCredentials, IssuerBuilder},
};
use token_proto::{
    POLICY,
    admin::v1::{ListSigningKeysRequest, RotateSigningKeyRequest, key_service_client::KeyServiceClient},
};
use token_server::development::DevelopmentClient;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    harness::{Issuer, reason, secret},
    service::{WhoCalled, serve},
};

fn call_as(client: &DevelopmentClient, issuer: IssuerBuilder, service: &Endpoint) -> KeyServiceClient<Attach<Channel>> {
    let source = ClientCredentials::new(client.id.as_str(), client.secret.expose_secret(), issuer).unwrap();
    KeyServiceClient::new(AttachLayer::new(source).policy(POLICY).connect_lazy(service).unwrap())
}

#[tokio::test]
async fn both_faces_of_the_issuer_open_the_same_doors() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer, WhoCalled::default()).await;
    for reached in [
        IssuerBuilder::grpc(issuer.endpoint()),
        IssuerBuilder::discover(issuer.url()).http_client(issuer.http()),
        IssuerBuilder::token_endpoint(format!("{}/oauth/token", issuer.url())).http_client(issuer.http()),
    ] {
        let mut client = call_as(issuer.admin(), reached, &service);
        let answer = client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap().into_inner();
        assert_eq!(answer.keys[0].key_id, issuer.admin().id);
        client.rotate_signing_key(RotateSigningKeyRequest::default()).await.unwrap();
    }
    issuer.stop().await;
}

#[tokio::test]
async fn a_client_without_the_audience_is_denied_and_told_so() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer, WhoCalled::default()).await;
    let mut client = call_as(issuer.example(), IssuerBuilder::grpc(issuer.endpoint()), &service);
    let error = client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED"));
    issuer.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_the_clients_fault_and_reads_so() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer, WhoCalled::default()).await;
    let guess = DevelopmentClient { secret: secret("tks_guess"), ..issuer.admin().clone() };
    let mut client = call_as(&guess, IssuerBuilder::grpc(issuer.endpoint()), &service);
    let error = client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED"));
    issuer.stop().await;
}

#[tokio::test]
async fn keys_in_hand_serve_while_the_issuer_is_gone() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer, WhoCalled::default()).await;
    let mut client = call_as(issuer.admin(), IssuerBuilder::grpc(issuer.endpoint()), &service);
    client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap();
    issuer.stop().await;
    for _ in 0..100 {
        client.list_signing_keys(ListSigningKeysRequest {}).await.expect("an outage of the issuer is not the caller's");
    }
}
