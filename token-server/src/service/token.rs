//! `token.v1.TokenService`.

use std::sync::Arc;

use http::HeaderValue;
use token_proto::v1::{self, token_service_server};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, status};
use crate::{
    client::basic,
    convert,
    issuer::Issuer,
    mint::IssuedToken,
    origin::{Origin, REQUEST_ID},
};

/// `token_type` of RFC 6750.
const BEARER: &str = "Bearer";
/// RFC 8693 section 3.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The service, ready to be added to a router.
#[must_use]
pub fn server(issuer: Arc<Issuer>) -> token_service_server::TokenServiceServer<TokenService> {
    let challenge = basic::challenge(&issuer.metadata().issuer);
    token_service_server::TokenServiceServer::new(TokenService { issuer, challenge })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Decodes, asks the issuer, encodes.
#[derive(Debug)]
pub struct TokenService {
    issuer: Arc<Issuer>,
    challenge: HeaderValue,
}

#[tonic::async_trait]
impl token_service_server::TokenService for TokenService {
    async fn issue_token(
        &self,
        request: Request<v1::IssueTokenRequest>,
    ) -> Result<Response<v1::IssueTokenResponse>, Status> {
        let (metadata, extensions, message) = request.into_parts();
        let headers = metadata.into_headers();
        let origin = Origin::of(&headers, &extensions);
        let issued = self.issuer.issue(&origin, async { convert::issue_token(message, &headers) }).await;
        let token = issued.map_err(|error| status::of_issue_error(&error, &origin, &self.challenge))?;
        let server_time = Some(token.issued_at().into());
        Ok(echo(v1::IssueTokenResponse { token: Some(encode(token)), server_time }, &origin))
    }

    async fn exchange_token(
        &self,
        _: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        Err(status::not_offered())
    }

    async fn introspect_token(
        &self,
        _: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        Err(status::not_offered())
    }

    async fn revoke_token(
        &self,
        _: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        Err(status::not_offered())
    }

    async fn get_user_info(
        &self,
        _: Request<v1::GetUserInfoRequest>,
    ) -> Result<Response<v1::GetUserInfoResponse>, Status> {
        Err(status::not_offered())
    }
}

fn encode(token: IssuedToken) -> v1::Token {
    v1::Token {
        token_type: BEARER.to_owned(),
        issued_token_type: ACCESS_TOKEN.to_owned(),
        expires_in: prost_types::Duration::try_from(token.expires_in()).ok(),
        refresh_after: prost_types::Duration::try_from(token.refresh_after()).ok(),
        expire_time: Some(token.expire_time().into()),
        audiences: token.audiences().iter().map(ToString::to_string).collect(),
        scopes: token.scopes().iter().map(ToString::to_string).collect(),
        token_id: token.token_id().to_owned(),
        value: token.into_value(),
    }
}

/// An answer that names its request.
pub(super) fn echo<T>(message: T, origin: &Origin) -> Response<T> {
    let headers = http::HeaderMap::from_iter([(REQUEST_ID, origin.request_id().header_value())]);
    Response::from_parts(tonic::metadata::MetadataMap::from_headers(headers), message, tonic::Extensions::default())
}
