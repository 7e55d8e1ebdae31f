//! `m2m.admin.v1.ClientService`: decodes, calls [`token_issuer::admin`], encodes.

mod decode;
mod encode;

use token_issuer::admin::{AdminError, ClientAdmin, Operator, RevocationAdmin};
use token_proto::admin::v1::{self, client_service_server};
use tonic::{Request, Response, Status};

use super::{operator, status, token::echo};

/// The longest message, in bytes: room for the largest allowed client.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Returns the service, ready for a router behind this project's own layer.
#[must_use]
pub fn server(
    admin: ClientAdmin,
    revocations: RevocationAdmin,
) -> client_service_server::ClientServiceServer<ClientService> {
    client_service_server::ClientServiceServer::new(ClientService { admin, revocations })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Registers a client as [`ClientService`] does, for a command on this machine: without a connection or a
/// token.
pub async fn create_locally(
    admin: &ClientAdmin,
    by: &Operator,
    request: v1::CreateClientRequest,
) -> Result<v1::CreateClientResponse, AdminError> {
    let v1::CreateClientRequest { client, validate_only, credential } = request;
    let first = decode::credential(credential)?;
    let created = admin.create(by, &decode::client(client)?.draft, &first, validate_only).await?;
    Ok(v1::CreateClientResponse {
        client: Some(encode::client(created.client)),
        client_secret: created.secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
    })
}

/// The service.
#[derive(Debug)]
pub struct ClientService {
    admin: ClientAdmin,
    revocations: RevocationAdmin,
}

#[tonic::async_trait]
impl client_service_server::ClientService for ClientService {
    async fn create_client(
        &self,
        request: Request<v1::CreateClientRequest>,
    ) -> Result<Response<v1::CreateClientResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::CreateClientRequest { client, validate_only, credential } = request.into_inner();
        entry.about(client.as_ref().map_or("", |client| &client.client_id));
        let answer = async {
            let (first, draft) = (decode::credential(credential)?, decode::client(client)?.draft);
            let created = self.admin.create(&by, &draft, &first, validate_only).await?;
            entry.about(created.client.id.as_str());
            Ok(v1::CreateClientResponse {
                client: Some(encode::client(created.client)),
                client_secret: created.secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            })
        };
        answer.await.map(|answer| echo(answer, &origin)).map_err(|error| status::of_admin_error(&error, &origin))
    }

    async fn get_client(
        &self,
        request: Request<v1::GetClientRequest>,
    ) -> Result<Response<v1::GetClientResponse>, Status> {
        let (origin, _, entry) = operator::of(&request)?;
        entry.about(&request.get_ref().client_id);
        let client = self.admin.get(&request.get_ref().client_id).await;
        let client = client.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::GetClientResponse { client: Some(encode::client(client)) }, &origin))
    }

    async fn list_clients(
        &self,
        request: Request<v1::ListClientsRequest>,
    ) -> Result<Response<v1::ListClientsResponse>, Status> {
        let (origin, _, _) = operator::of(&request)?;
        let v1::ListClientsRequest { page_size, page_token } = request.get_ref();
        let page = self.admin.list(*page_size, page_token).await;
        let page = page.map_err(|error| status::of_admin_error(&error, &origin))?;
        let clients = page.clients.into_iter().map(encode::client).collect();
        Ok(echo(v1::ListClientsResponse { clients, next_page_token: page.next_page_token }, &origin))
    }

    async fn update_client(
        &self,
        request: Request<v1::UpdateClientRequest>,
    ) -> Result<Response<v1::UpdateClientResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        entry.about(request.get_ref().client.as_ref().map_or("", |client| &client.client_id));
        let answer = async { self.admin.update(&by, &decode::update(request.into_inner())?).await };
        let client = answer.await.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::UpdateClientResponse { client: Some(encode::client(client)) }, &origin))
    }

    async fn delete_client(
        &self,
        request: Request<v1::DeleteClientRequest>,
    ) -> Result<Response<v1::DeleteClientResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::DeleteClientRequest { client_id, etag, keep_tokens } = request.get_ref();
        entry.about(client_id);
        let deleted = self.admin.delete(&by, client_id, etag, *keep_tokens).await;
        deleted.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::DeleteClientResponse {}, &origin))
    }

    async fn add_credential(
        &self,
        request: Request<v1::AddCredentialRequest>,
    ) -> Result<Response<v1::AddCredentialResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::AddCredentialRequest { client_id, credential, overlap } = request.into_inner();
        entry.about(&client_id);
        let answer = async {
            let (new, overlap) = (decode::credential(credential)?, decode::overlap(overlap)?);
            let added = self.admin.add_credential(&by, &client_id, &new, overlap).await?;
            Ok(v1::AddCredentialResponse {
                credential: Some(encode::credential(added.credential)),
                client_secret: added.secret.map(|secret| secret.expose().to_owned()).unwrap_or_default(),
            })
        };
        answer.await.map(|answer| echo(answer, &origin)).map_err(|error| status::of_admin_error(&error, &origin))
    }

    async fn remove_credential(
        &self,
        request: Request<v1::RemoveCredentialRequest>,
    ) -> Result<Response<v1::RemoveCredentialResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::RemoveCredentialRequest { client_id, credential_id, revoke_tokens } = request.get_ref();
        entry.about(client_id);
        let removed = self.admin.remove_credential(&by, client_id, credential_id, *revoke_tokens).await;
        removed.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::RemoveCredentialResponse {}, &origin))
    }

    async fn revoke_client_tokens(
        &self,
        request: Request<v1::RevokeClientTokensRequest>,
    ) -> Result<Response<v1::RevokeClientTokensResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::RevokeClientTokensRequest { client_id, issued_before_time } = request.into_inner();
        entry.about(&client_id);
        let answer = async {
            let before = issued_before_time.map(|time| decode::time(time, "issued_before_time")).transpose()?;
            self.admin.check_may_revoke(&by, &client_id).await?;
            self.revocations.revoke_client_tokens(&by, &client_id, before).await
        };
        let before = answer.await.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::RevokeClientTokensResponse { issued_before_time: Some(before.into()) }, &origin))
    }

    async fn replace_registration_token(
        &self,
        request: Request<v1::ReplaceRegistrationTokenRequest>,
    ) -> Result<Response<v1::ReplaceRegistrationTokenResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        let v1::ReplaceRegistrationTokenRequest { client_id, expire_time } = request.into_inner();
        entry.about(&client_id);
        let answer = async {
            let expire_time = expire_time.map(|time| decode::time(time, "expire_time")).transpose()?;
            let (token, expire_time) = self.admin.replace_registration_token(&by, &client_id, expire_time).await?;
            Ok(v1::ReplaceRegistrationTokenResponse {
                registration_access_token: token.expose().to_owned(),
                expire_time: Some(expire_time.into()),
            })
        };
        answer.await.map(|answer| echo(answer, &origin)).map_err(|error| status::of_admin_error(&error, &origin))
    }
}
