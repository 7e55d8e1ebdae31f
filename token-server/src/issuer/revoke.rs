//! Revocation of a token by the client that it was issued to. RFC 7009.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tracing::Instrument as _;

use super::{Admitted, answered};
use crate::{
    convert::TokenQuestion,
    error::IssueError,
    store::{Revocation, RevocationTarget},
};

/// Verifiers accept an expired token for as long as their leeway, ten minutes at the most.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

impl Admitted<'_> {
    /// Revokes the token. One that is unknown, malformed or expired is revoked enough already.
    ///
    /// # Errors
    ///
    /// When the client is not authenticated, the token was issued to another one, or the store cannot be written.
    pub(crate) async fn revoke(mut self, question: Result<TokenQuestion, IssueError>) -> Result<(), IssueError> {
        let span = self.decision.span().clone();
        let revoked = self.put_on_list(question).instrument(span).await;
        match &revoked {
            Ok(Some(token_id)) => answered(self.close(), "revoked", Some(token_id)),
            Ok(None) => answered(self.close(), "nothing_to_revoke", None),
            Err(error) => self.refuse(error),
        }
        revoked.map(drop)
    }

    /// The `jti` of what was revoked.
    async fn put_on_list(&mut self, question: Result<TokenQuestion, IssueError>) -> Result<Option<String>, IssueError> {
        let (client, token) = self.question(question).await?;
        let issuer = self.issuer;
        let Some(token) = issuer.own_tokens.verify(token.expose_secret())? else { return Ok(None) };
        if token.client_id() != client.id().as_str() {
            return Err(IssueError::ClientNotAuthorized("The token was issued to another client."));
        }
        issuer.limits.revocation(client.id())?;
        let revocation = Revocation {
            target: RevocationTarget::TokenId(token.token_id().to_owned()),
            revoked_before: issuer.clock.now(),
            forget_time: token.expires_at() + LEEWAY_MAX,
        };
        issuer.revocations.revoke(revocation, None).await.map_err(|error| IssueError::Unavailable(error.into()))?;
        Ok(Some(token.token_id().to_owned()))
    }
}
