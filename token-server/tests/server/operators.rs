//! The rights of an operator of the admin API are those of its client's current registration.

use token_proto::admin::v1::{
    Client, CreateClientRequest, DeleteClientRequest, Grant, UpdateClientRequest,
    client_service_client::ClientServiceClient,
};
use token_server::development::RunningDevelopment;
use tonic::{Code, Request, transport::Channel};

use crate::harness::{as_admin, channel, development, issue};

const WRITE: &str = "clients.write";

fn helpdesk(scopes: &[&str]) -> Client {
    let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let grant = Grant { audience: "m2m.admin.v1".to_owned(), default_scopes: scopes.clone(), scopes };
    Client { client_id: "helpdesk".to_owned(), grants: vec![grant], ..Client::default() }
}

fn create(client: Client) -> CreateClientRequest {
    CreateClientRequest { client: Some(client), ..Default::default() }
}

async fn update(dev: &RunningDevelopment, client: Client, path: &str, keep_tokens: bool) {
    let update_mask = Some(prost_types::FieldMask { paths: vec![path.to_owned()] });
    let request = UpdateClientRequest { client: Some(client), update_mask, validate_only: false, keep_tokens };
    let request = as_admin(dev, request).await;
    ClientServiceClient::new(channel(dev).await).update_client(request).await.unwrap();
}

/// Registers a client with this token. Returns the code of the rejection, if it is rejected.
async fn code(clients: &mut ClientServiceClient<Channel>, token: &str) -> Code {
    let mut request = Request::new(create(Client::default()));
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    clients.create_client(request).await.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn an_operator_is_judged_by_what_is_registered_now() {
    let (_folder, dev) = development(|_| ()).await;
    let mut clients = ClientServiceClient::new(channel(&dev).await);
    let created = clients.create_client(as_admin(&dev, create(helpdesk(&[WRITE]))).await).await.unwrap();
    let secret = created.into_inner().client_secret;
    let token = issue(&dev, "helpdesk", &secret).await.unwrap();
    assert_eq!(code(&mut clients, &token).await, Code::Ok);

    update(&dev, helpdesk(&["clients.read"]), "grants", false).await;
    assert_eq!(code(&mut clients, &token).await, Code::PermissionDenied);
    update(&dev, helpdesk(&[WRITE]), "grants", false).await;
    assert_eq!(code(&mut clients, &token).await, Code::Ok);

    let disabled = |disabled| Client { disabled, ..helpdesk(&[WRITE]) };
    update(&dev, disabled(true), "disabled", true).await;
    assert_eq!(code(&mut clients, &token).await, Code::Unauthenticated);
    update(&dev, disabled(false), "disabled", false).await;
    assert_eq!(code(&mut clients, &token).await, Code::Ok, "its tokens were kept");
    update(&dev, disabled(true), "disabled", false).await;
    update(&dev, disabled(false), "disabled", false).await;
    assert_eq!(code(&mut clients, &token).await, Code::Unauthenticated, "its tokens were revoked");
}

#[tokio::test]
async fn a_deleted_operator_is_refused_at_once() {
    let (_folder, dev) = development(|_| ()).await;
    let mut clients = ClientServiceClient::new(channel(&dev).await);
    let created = clients.create_client(as_admin(&dev, create(helpdesk(&[WRITE]))).await).await.unwrap();
    let token = issue(&dev, "helpdesk", &created.into_inner().client_secret).await.unwrap();
    let delete = DeleteClientRequest { client_id: "helpdesk".to_owned(), etag: String::new(), keep_tokens: true };
    clients.delete_client(as_admin(&dev, delete).await).await.unwrap();
    assert_eq!(code(&mut clients, &token).await, Code::Unauthenticated);
    let again = clients.create_client(as_admin(&dev, create(helpdesk(&[WRITE]))).await).await.unwrap_err();
    assert_eq!(again.code(), Code::AlreadyExists);
}
