//! `m2m.token.v1.TokenService`.

use std::{future::Future, pin::Pin, sync::Arc};

use http::{HeaderMap, HeaderValue};
use token_issuer::{
    issuer::{Issuer, Operation, UserInfoError, introspected},
    mint::MintedToken,
    origin::{Origin, REQUEST_ID},
};
use token_proto::token::v1::{self, token_service_server};
use tonic::{Request, Response, Status};

use super::{MESSAGE_BYTES_MAX, status, structure};
use crate::convert;

use crate::connection;

/// The `token_type` of RFC 6750.
const BEARER: &str = "Bearer";

/// Returns the service, ready for a router.
#[must_use]
pub fn server(issuer: Arc<Issuer>) -> token_service_server::TokenServiceServer<TokenService> {
    let challenge = convert::challenge(&issuer.metadata().issuer);
    token_service_server::TokenServiceServer::new(TokenService { issuer, challenge })
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Decodes a request, calls the issuer, and encodes the response.
#[derive(Debug)]
pub struct TokenService {
    issuer: Arc<Issuer>,
    challenge: HeaderValue,
}

#[tonic::async_trait]
impl token_service_server::TokenService for TokenService {
    /// Hand-desugared `async fn`. An `async fn` would keep the request in its future and make it several
    /// times larger. That future is moved and boxed for every token.
    fn issue_token<'s, 'f>(
        &'s self,
        request: Request<v1::IssueTokenRequest>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<v1::IssueTokenResponse>, Status>> + Send + 'f>>
    where
        's: 'f,
        Self: 'f,
    {
        let (origin, headers, message) = split(request);
        let admitted = self.issuer.admit(&origin, Operation::IssueToken);
        let issued = admitted.map(|admitted| admitted.issue(convert::issue_token(message, &headers)));
        Box::pin(async move {
            let issued = match issued {
                Ok(issued) => issued.await,
                Err(refusal) => Err(refusal),
            };
            let token = issued.map_err(|error| status::of_issue_error(&error, &origin, &self.challenge))?;
            let server_time = Some(token.issued_at().into());
            Ok(echo(v1::IssueTokenResponse { token: Some(encode(token)), server_time }, &origin))
        })
    }

    async fn exchange_token(
        &self,
        request: Request<v1::ExchangeTokenRequest>,
    ) -> Result<Response<v1::ExchangeTokenResponse>, Status> {
        let (origin, headers, message) = split(request);
        let issued = match self.issuer.admit(&origin, Operation::ExchangeToken) {
            Ok(admitted) => admitted.issue(convert::exchange_token(message, &headers)).await,
            Err(refusal) => Err(refusal),
        };
        let token = issued.map_err(|error| status::of_issue_error(&error, &origin, &self.challenge))?;
        let server_time = Some(token.issued_at().into());
        Ok(echo(v1::ExchangeTokenResponse { token: Some(encode(token)), server_time }, &origin))
    }

    async fn introspect_token(
        &self,
        request: Request<v1::IntrospectTokenRequest>,
    ) -> Result<Response<v1::IntrospectTokenResponse>, Status> {
        let (origin, headers, message) = split(request);
        let found = match self.issuer.admit(&origin, Operation::IntrospectToken) {
            Ok(admitted) => admitted.introspect(convert::introspect_token(message, &headers)).await,
            Err(refusal) => Err(refusal),
        };
        let found = found.map_err(|error| status::of_issue_error(&error, &origin, &self.challenge))?;
        let claims = found.as_ref().map(|token| structure::of(introspected(token)));
        Ok(echo(v1::IntrospectTokenResponse { active: found.is_some(), claims }, &origin))
    }

    async fn revoke_token(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let (origin, headers, message) = split(request);
        let revoked = match self.issuer.admit(&origin, Operation::RevokeToken) {
            Ok(admitted) => admitted.revoke(convert::revoke_token(message, &headers)).await,
            Err(refusal) => Err(refusal),
        };
        revoked.map_err(|error| status::of_issue_error(&error, &origin, &self.challenge))?;
        Ok(echo(v1::RevokeTokenResponse {}, &origin))
    }

    async fn get_user_info(
        &self,
        request: Request<v1::GetUserInfoRequest>,
    ) -> Result<Response<v1::GetUserInfoResponse>, Status> {
        let (origin, headers, v1::GetUserInfoRequest {}) = split(request);
        let told = match self.issuer.admit(&origin, Operation::GetUserInfo) {
            Ok(admitted) => admitted.user_info(&headers).await,
            Err(refusal) => Err(UserInfoError::Other(refusal)),
        };
        match told {
            Ok(claims) => Ok(echo(v1::GetUserInfoResponse { claims: Some(structure::of(claims)) }, &origin)),
            Err(UserInfoError::Bearer(answer)) => Err(status::of_bearer(answer, &origin)),
            Err(UserInfoError::Other(error)) => Err(status::of_issue_error(&error, &origin, &self.challenge)),
        }
    }
}

/// Returns the origin, the metadata and the message.
fn split<T>(request: Request<T>) -> (Origin, HeaderMap, T) {
    let (metadata, extensions, message) = request.into_parts();
    let headers = metadata.into_headers();
    (connection::origin(&headers, &extensions), headers, message)
}

fn encode(token: MintedToken) -> v1::Token {
    v1::Token {
        token_type: BEARER.to_owned(),
        issued_token_type: convert::ACCESS_TOKEN.to_owned(),
        expires_in: prost_types::Duration::try_from(token.expires_in()).ok(),
        refresh_after: prost_types::Duration::try_from(token.refresh_after()).ok(),
        expire_time: Some(token.expire_time().into()),
        audiences: token.audiences().iter().map(|audience| audience.as_str().to_owned()).collect(),
        scopes: token.scopes().iter().map(|scope| scope.as_str().to_owned()).collect(),
        token_id: token.token_id().to_owned(),
        value: token.into_value(),
    }
}

/// Returns a response with the ID of its request.
pub(super) fn echo<T>(message: T, origin: &Origin) -> Response<T> {
    let headers = http::HeaderMap::from_iter([(REQUEST_ID, origin.request_id().header_value())]);
    Response::from_parts(tonic::metadata::MetadataMap::from_headers(headers), message, tonic::Extensions::default())
}
