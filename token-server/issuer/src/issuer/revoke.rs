//! Revocation of a token by the client that it was issued to. RFC 7009.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use token_interceptor::verify::{LEEWAY_MAX, jws::Jws};
use tracing::Instrument as _;

use super::{Admitted, answered};
use crate::{
    error::{Budget, IssueError},
    request::TokenQuery,
    store::{Revocation, RevocationTarget},
};

/// The retry delay for a client that has revoked too many single tokens. Some of them have expired by then.
const RETRY_AFTER_LIVE: Duration = Duration::from_secs(60);

impl Admitted<'_> {
    /// Revokes the token and all tokens derived from it. An unknown, malformed or expired token needs no
    /// revocation.
    ///
    /// # Errors
    ///
    /// When the client is not authenticated, the token was issued to another one, or the store cannot be
    /// written.
    pub async fn revoke(mut self, question: Result<TokenQuery, IssueError>) -> Result<(), IssueError> {
        let span = self.decision.span().clone();
        let revoked = self.add_revocation(question).instrument(span).await;
        match &revoked {
            Ok(Some(token_id)) => answered(self.close(), "revoked", Some(token_id)),
            Ok(None) => answered(self.close(), "nothing_to_revoke", None),
            Err(error) => self.refuse(error),
        }
        revoked.map(drop)
    }

    /// Returns the `jti` of the revoked token.
    async fn add_revocation(&mut self, question: Result<TokenQuery, IssueError>) -> Result<Option<String>, IssueError> {
        let (client, token) = self.authenticate_query(question).await?;
        let issuer = self.issuer;
        // RFC 7009 section 2.1. Decided by the token's claims, before it is verified. The answer reveals
        // nothing about the validity of another client's token.
        if claimed_client(token.expose_secret()).is_some_and(|claimed| claimed != client.id().as_str()) {
            return Err(IssueError::ClientNotAuthorized("The token was issued to another client."));
        }
        let Some(token) = issuer.own_tokens.verify(token.expose_secret())? else { return Ok(None) };
        issuer.limits.revocation(client.id())?;
        if issuer.revocations.tokens_of(client.id()) >= issuer.settings.revoked_tokens_per_client {
            return Err(IssueError::RateLimited { budget: Budget::LiveRevocations, retry_after: RETRY_AFTER_LIVE });
        }
        let revocation = Revocation {
            target: RevocationTarget::TokenId(token.token_id().to_owned()),
            revoked_before: issuer.clock.now(),
            forget_time: token.expires_at() + LEEWAY_MAX,
            issued_to: Some(client.id().clone()),
        };
        issuer.revocations.revoke(revocation, None).await.map_err(|error| IssueError::Unavailable(error.into()))?;
        Ok(Some(token.token_id().to_owned()))
    }
}

/// Returns the client that the token claims to be issued to, unverified.
fn claimed_client(token: &str) -> Option<String> {
    Jws::parse(token).ok()?.claims.get("client_id")?.as_str().map(str::to_owned)
}
