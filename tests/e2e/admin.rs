//! An operator creates a client, changes it and deletes it. gRPC and HTTP follow immediately.

use http::StatusCode;
use token_interceptor::source::TokenRequest;
use token_proto::admin::v1::{
    AddCredentialRequest, Client, CreateClientRequest, DeleteClientRequest, Grant, ListClientsRequest,
    UpdateClientRequest,
};
use tonic::Code;

use crate::harness::{Issuer, json, reason};

fn billing() -> Client {
    Client {
        client_id: "billing".into(),
        display_name: "Billing".into(),
        grants: vec![Grant {
            audience: "inventory".into(),
            scopes: vec!["inventory.read".into(), "inventory.write".into()],
            default_scopes: vec!["inventory.read".into()],
        }],
        claims: [("team".to_owned(), "money".to_owned())].into(),
        ..Default::default()
    }
}

fn create(client: Client) -> CreateClientRequest {
    CreateClientRequest { client: Some(client), ..Default::default() }
}

#[tokio::test]
async fn a_client_lives_from_create_to_delete_on_both_faces() {
    let issuer = Issuer::start().await;
    let mut admin = issuer.clients_as(issuer.admin());
    assert_eq!(
        issuer.issue_token("billing", "tks_guess", "inventory").await.unwrap_err().code(),
        Code::Unauthenticated
    );

    let created = admin.create_client(create(billing())).await.unwrap().into_inner();
    let secret = created.client_secret;
    issuer.keep_secret(&secret);
    let token = issuer.issue_token("billing", &secret, "inventory").await.unwrap();
    assert_eq!(token.scopes, ["inventory.read"]);
    let both = issuer.post_token("billing", &secret, &[("scope", "inventory.write inventory.read")]).await;
    assert_eq!(json(&both)["scope"].as_str().unwrap().split(' ').count(), 2);

    let mut client = created.client.unwrap();
    let stale = client.etag.clone();
    client.disabled = true;
    let update = |client: Client, path: &str| UpdateClientRequest {
        client: Some(client),
        update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
        ..Default::default()
    };
    let updated = admin.update_client(update(client.clone(), "disabled")).await.unwrap().into_inner().client.unwrap();
    let refused = issuer.post_token("billing", &secret, &[]).await;
    assert_eq!((refused.status, json(&refused)["error"].as_str()), (StatusCode::UNAUTHORIZED, Some("invalid_client")));

    client.etag = stale;
    let error = admin.update_client(update(client, "display_name")).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::Aborted, "ETAG_MISMATCH"));

    let enabled = Client { disabled: false, ..updated };
    admin.update_client(update(enabled, "disabled")).await.unwrap();
    issuer.issue_token("billing", &secret, "inventory").await.unwrap();

    admin.delete_client(DeleteClientRequest { client_id: "billing".into(), ..Default::default() }).await.unwrap();
    let error = issuer.issue_token("billing", &secret, "inventory").await.unwrap_err();
    assert_eq!(reason(&error), "CLIENT_AUTHENTICATION_FAILED");
    issuer.stop().await;
}

#[tokio::test]
async fn two_secrets_live_side_by_side() {
    let issuer = Issuer::start().await;
    let mut admin = issuer.clients_as(issuer.admin());
    let first = admin.create_client(create(billing())).await.unwrap().into_inner().client_secret;
    let request = AddCredentialRequest { client_id: "billing".into(), credential: None, overlap: None };
    let second = admin.add_credential(request).await.unwrap().into_inner().client_secret;
    assert_ne!(first, second);
    for secret in [&first, &second] {
        issuer.keep_secret(secret);
        issuer.issue_token("billing", secret, "inventory").await.unwrap();
    }
    issuer.stop().await;
}

#[tokio::test]
async fn a_client_without_admin_scopes_cannot_register_clients() {
    let issuer = Issuer::start().await;
    let error = issuer.clients_as(issuer.example()).create_client(create(billing())).await.unwrap_err();
    // The issuer already refuses a token for that audience. The answer says that the client is at fault.
    assert_eq!((error.code(), &*reason(&error)), (Code::PermissionDenied, "CLIENT_NOT_AUTHORIZED"));
    issuer.stop().await;
}

#[tokio::test]
async fn reading_scopes_do_not_write_and_the_missing_scope_is_named() {
    let issuer = Issuer::start().await;
    let mut admin = issuer.clients_as(issuer.admin());
    let reader = Client {
        client_id: "auditor".into(),
        grants: vec![Grant {
            audience: "m2m.admin.v1".into(),
            scopes: vec!["clients.read".into()],
            ..Default::default()
        }],
        ..Default::default()
    };
    // An operator can grant only rights that its own token has, so the token for this call must include read.
    let error = admin.create_client(create(reader.clone())).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::PermissionDenied, "SCOPE_INSUFFICIENT"));
    let mut request = tonic::Request::new(create(reader));
    let both = TokenRequest::for_audience("m2m.admin.v1").with_scopes(["clients.read", "clients.write"]);
    request.extensions_mut().insert(both);
    let secret = admin.create_client(request).await.unwrap().into_inner().client_secret;
    issuer.keep_secret(&secret);
    let form = [("audience", "m2m.admin.v1"), ("scope", "clients.read")];
    let token = json(&issuer.post_token("auditor", &secret, &form).await)["access_token"].as_str().unwrap().to_owned();
    let bearer = |message: ListClientsRequest| {
        let mut request = tonic::Request::new(message);
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        request
    };
    let mut plain = token_proto::admin::v1::client_service_client::ClientServiceClient::new(issuer.channel());
    let listed = plain.list_clients(bearer(ListClientsRequest::default())).await.unwrap().into_inner().clients;
    assert_eq!(listed.len(), 3, "the two of the development issuer, and the auditor");

    let request = bearer(ListClientsRequest::default()).map(|_| create(billing()));
    let error = plain.create_client(request).await.unwrap_err();
    assert_eq!((error.code(), &*reason(&error)), (Code::PermissionDenied, "SCOPE_INSUFFICIENT"));
    let challenge = error.metadata().get("www-authenticate").unwrap().to_str().unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("clients.write"), "{challenge}");
    issuer.stop().await;
}
