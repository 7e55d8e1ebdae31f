//! An application's own service, in its own process as far as trust goes: it knows the issuer by its URL. Clients
//! call it through the layer, with tokens from either face of the issuer.

use secrecy::ExposeSecret as _;
use token_interceptor::{
    attach::{Attach, TokenLayer},
    caller::Caller,
    layer::AuthorizationLayer,
    policy::Policy,
    source::{ClientCredentials, IssuerBuilder},
    verify::{TrustedIssuer, Verifier},
};
use token_proto::{
    FILE_DESCRIPTOR_SET, POLICY,
    admin::v1::{
        DistrustSigningKeyRequest, DistrustSigningKeyResponse, ListSigningKeysRequest, ListSigningKeysResponse,
        RotateSigningKeyRequest, RotateSigningKeyResponse,
        key_service_client::KeyServiceClient,
        key_service_server::{KeyService, KeyServiceServer, SERVICE_NAME},
    },
    v1::Key,
};
use token_server::development::DevelopmentClient;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint, Server},
};

use crate::harness::{Issuer, reason, secret};

/// Answers who called, in place of a key ID.
struct WhoCalled;

#[tonic::async_trait]
impl KeyService for WhoCalled {
    async fn list_signing_keys(
        &self,
        request: Request<ListSigningKeysRequest>,
    ) -> Result<Response<ListSigningKeysResponse>, Status> {
        let caller = Caller::of(&request)?;
        let key = Key { key_id: caller.client_id().to_owned(), ..Default::default() };
        Ok(Response::new(ListSigningKeysResponse { keys: vec![key] }))
    }

    async fn rotate_signing_key(
        &self,
        _request: Request<RotateSigningKeyRequest>,
    ) -> Result<Response<RotateSigningKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn distrust_signing_key(
        &self,
        _request: Request<DistrustSigningKeyRequest>,
    ) -> Result<Response<DistrustSigningKeyResponse>, Status> {
        Ok(Response::new(Default::default()))
    }
}

/// The service on a loopback port; it trusts the issuer by discovery over HTTPS. Ends with the test's runtime.
async fn serve(issuer: &Issuer) -> Endpoint {
    let trusted = TrustedIssuer::discover(issuer.url()).unwrap().http_client(issuer.http());
    let verifier = Verifier::builder().issuer(trusted).build().unwrap();
    let policy = Policy::new(POLICY).unwrap().serves(FILE_DESCRIPTOR_SET, &[SERVICE_NAME]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Server::builder()
        .layer(AuthorizationLayer::new(verifier, policy))
        .add_service(KeyServiceServer::new(WhoCalled))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Endpoint::from_shared(format!("http://{address}")).unwrap()
}

fn call_as(client: &DevelopmentClient, issuer: IssuerBuilder, service: &Endpoint) -> KeyServiceClient<Attach<Channel>> {
    let source = ClientCredentials::new(client.id.as_str(), client.secret.expose_secret(), issuer).unwrap();
    KeyServiceClient::new(TokenLayer::new(source).policy(POLICY).connect_lazy(service).unwrap())
}

#[tokio::test]
async fn both_faces_of_the_issuer_open_the_same_doors() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer).await;
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
    let service = serve(&issuer).await;
    let mut client = call_as(issuer.example(), IssuerBuilder::grpc(issuer.endpoint()), &service);
    let error = client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED"));
    issuer.stop().await;
}

#[tokio::test]
async fn a_wrong_secret_is_the_clients_fault_and_reads_so() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer).await;
    let guess = DevelopmentClient { secret: secret("tks_guess"), ..issuer.admin().clone() };
    let mut client = call_as(&guess, IssuerBuilder::grpc(issuer.endpoint()), &service);
    let error = client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED"));
    issuer.stop().await;
}

#[tokio::test]
async fn keys_in_hand_serve_while_the_issuer_is_gone() {
    let issuer = Issuer::start().await;
    let service = serve(&issuer).await;
    let mut client = call_as(issuer.admin(), IssuerBuilder::grpc(issuer.endpoint()), &service);
    client.list_signing_keys(ListSigningKeysRequest {}).await.unwrap();
    issuer.stop().await;
    for _ in 0..100 {
        client.list_signing_keys(ListSigningKeysRequest {}).await.expect("an outage of the issuer is not the caller's");
    }
}
