//! Claims that the bearer of a token may read about its subject. OpenID Connect Core section 5.3.

use http::HeaderMap;
use serde_json::{Map, Value};
use token_interceptor::{bearer::bearer, error::Denied, status::Answer, token::VerifiedToken};
use token_proto::token::v1::ErrorReason;

use super::{Admitted, Issuer, answered, denied};
use crate::{client::ClientId, error::IssueError};

/// The reason for an error response: an invalid bearer token (RFC 6750), or an error common to all requests.
///
/// Exhaustive: both protocols must answer a new reason before it compiles.
#[derive(Debug)]
pub enum UserInfoError {
    /// The bearer token is missing or invalid.
    Bearer(Answer),
    /// An error common to all requests.
    Other(IssueError),
}

impl Admitted<'_> {
    /// Returns the claims about the subject of the caller's own token.
    ///
    /// # Errors
    ///
    /// When the request carries no valid token of this issuer.
    pub async fn user_info(mut self, headers: &HeaderMap) -> Result<Map<String, Value>, UserInfoError> {
        let told = self.look_up(headers).await;
        match &told {
            Ok((token, _)) => answered(self.close(), "told", Some(token.token_id())),
            Err(UserInfoError::Bearer(answer)) => denied(self.close(), answer.reason()),
            Err(UserInfoError::Other(error)) => self.refuse(error),
        }
        told.map(|(_, claims)| claims)
    }

    async fn look_up(&mut self, headers: &HeaderMap) -> Result<(VerifiedToken, Map<String, Value>), UserInfoError> {
        let token = self.issuer.bearer_token(headers)?;
        self.decision.claimed_by(token.client_id());
        let claims = self.issuer.claims_about(&token).await.map_err(UserInfoError::Other)?;
        Ok((token, claims))
    }
}

impl Issuer {
    fn bearer_token(&self, headers: &HeaderMap) -> Result<VerifiedToken, UserInfoError> {
        let token = bearer(headers).map_err(|denied: Denied| UserInfoError::Bearer(Answer::from(&denied)))?;
        let verified = self.own_tokens.verify(token.expose()).map_err(UserInfoError::Other)?;
        verified.ok_or(UserInfoError::Bearer(Answer::new(ErrorReason::TokenInvalid, "the token is invalid")))
    }

    /// Returns the subject, and the client's name if the subject is a client.
    async fn claims_about(&self, token: &VerifiedToken) -> Result<Map<String, Value>, IssueError> {
        let mut claims = Map::from_iter([
            ("sub".to_owned(), token.subject().into()),
            ("client_id".to_owned(), token.client_id().into()),
        ]);
        if let Ok(subject) = ClientId::try_from(token.subject()) {
            let client =
                self.clients.registry.find(&subject).await.map_err(|error| IssueError::Unavailable(error.into()))?;
            if let Some(client) = client.filter(|client| !client.display_name.is_empty()) {
                claims.insert("name".to_owned(), client.display_name.clone().into());
            }
        }
        Ok(claims)
    }
}
