//! `m2m.admin.v1.KeyService`: decodes, calls [`token_issuer::admin`], encodes.

use token_issuer::admin::KeyAdmin;
use token_proto::admin::v1::{self, key_service_server};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, operator, status, token::echo, trust::encode};

/// Returns the service, ready for a router behind this project's own layer.
#[must_use]
pub fn server(admin: KeyAdmin) -> key_service_server::KeyServiceServer<KeyService> {
    key_service_server::KeyServiceServer::new(KeyService { admin }).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// The service.
#[derive(Debug)]
pub struct KeyService {
    admin: KeyAdmin,
}

#[tonic::async_trait]
impl key_service_server::KeyService for KeyService {
    async fn list_signing_keys(
        &self,
        request: Request<v1::ListSigningKeysRequest>,
    ) -> Result<Response<v1::ListSigningKeysResponse>, Status> {
        let (origin, _, _) = operator::of(&request)?;
        let keys = self.admin.list().iter().map(encode::key).collect();
        Ok(echo(v1::ListSigningKeysResponse { keys }, &origin))
    }

    async fn rotate_signing_key(
        &self,
        request: Request<v1::RotateSigningKeyRequest>,
    ) -> Result<Response<v1::RotateSigningKeyResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        entry.about(&request.get_ref().algorithm);
        let key = self.admin.rotate(&by, &request.get_ref().algorithm).await;
        let key = key.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::RotateSigningKeyResponse { key: Some(encode::key(&key)) }, &origin))
    }

    async fn distrust_signing_key(
        &self,
        request: Request<v1::DistrustSigningKeyRequest>,
    ) -> Result<Response<v1::DistrustSigningKeyResponse>, Status> {
        let (origin, by, entry) = operator::of(&request)?;
        entry.about(&request.get_ref().key_id);
        let distrusted = self.admin.distrust(&by, &request.get_ref().key_id).await;
        distrusted.map_err(|error| status::of_admin_error(&error, &origin))?;
        Ok(echo(v1::DistrustSigningKeyResponse {}, &origin))
    }
}
