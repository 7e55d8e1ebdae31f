//! A client with a private key instead of a secret: the client signs, and the issuer has its public key. Both
//! sides are this project's own.

use token_interceptor::{
    signature::{Algorithm, SigningKey},
    source::{ClientCredentials, IssuerBuilder, IssuerRefusal, PrivateKeyJwt, TokenRequest, TokenSource as _},
};
use token_proto::admin::v1::{
    AddCredentialRequest, Client, CreateClientRequest, Credential, Grant, PublicKey, credential::Kind,
};

use crate::harness::Issuer;

/// Parses the key. Each call returns the same key.
fn key(der: &[u8]) -> SigningKey {
    SigningKey::from_der(Algorithm::Es256, der).unwrap()
}

async fn register(issuer: &Issuer, id: &str, key: &SigningKey) {
    let mut admin = issuer.clients_as(issuer.admin());
    let grant = Grant {
        audience: "inventory".into(),
        scopes: vec!["inventory.read".into()],
        default_scopes: vec!["inventory.read".into()],
    };
    let client = Client { client_id: id.into(), grants: vec![grant], ..Default::default() };
    let create = CreateClientRequest { client: Some(client), ..Default::default() };
    issuer.keep_secret(&admin.create_client(create).await.unwrap().into_inner().client_secret);
    let kind = Kind::PublicKey(PublicKey { jwk: key.public_jwk().to_json() });
    let credential = Credential { kind: Some(kind), ..Default::default() };
    let add = AddCredentialRequest { client_id: id.into(), credential: Some(credential), ..Default::default() };
    admin.add_credential(add).await.unwrap();
}

/// gRPC, and both ways to find the HTTP endpoint.
fn ways(issuer: &Issuer) -> [IssuerBuilder; 3] {
    [
        IssuerBuilder::grpc(issuer.endpoint()),
        IssuerBuilder::discover(issuer.url()).http_client(issuer.http()),
        IssuerBuilder::token_endpoint(format!("{}/oauth/token", issuer.url())).http_client(issuer.http()),
    ]
}

#[tokio::test]
async fn a_registered_key_opens_both_faces_and_any_number_of_times() {
    let issuer = Issuer::start().await;
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    register(&issuer, "signer", &key(&der)).await;
    let request = TokenRequest::for_audience("inventory").with_scopes(["inventory.read"]);
    for way in ways(&issuer) {
        let assertion = PrivateKeyJwt::new(key(&der), issuer.url());
        let source = ClientCredentials::new("signer", assertion, way).unwrap();
        for _ in 0..3 {
            // Each assertion is valid once, and each fetch creates a new one.
            issuer.keep_secret(source.fetch(&request).await.unwrap().token.expose());
        }
    }
    issuer.stop().await;
}

#[tokio::test]
async fn another_key_or_another_issuers_assertion_opens_neither() {
    let issuer = Issuer::start().await;
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    register(&issuer, "signer", &key(&der)).await;
    let other = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let known = key(&der).public_jwk().key_id().to_owned();
    let request = TokenRequest::for_audience("inventory");
    for way in ways(&issuer) {
        for assertion in [
            PrivateKeyJwt::new(key(&other), issuer.url()),
            PrivateKeyJwt::new(key(&other), issuer.url()).key_id(known.as_str()),
            PrivateKeyJwt::new(key(&der), "https://issuer.example"),
        ] {
            let source = ClientCredentials::new("signer", assertion, way.clone()).unwrap();
            let refusal = source.fetch(&request).await.unwrap_err().refusal();
            assert_eq!(refusal, Some(IssuerRefusal::ClientAuthentication));
        }
    }
    issuer.stop().await;
}
