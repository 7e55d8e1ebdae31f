//! Revocation of a token by the client that it was issued to. RFC 7009.

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tracing::Instrument as _;

use super::{Issuer, answered, refused};
use crate::{
    audit::Decision,
    convert::TokenQuestion,
    error::IssueError,
    origin::Origin,
    store::{Revocation, RevocationTarget},
};

/// Verifiers accept an expired token for as long as their leeway, ten minutes at the most.
const LEEWAY_MAX: Duration = Duration::from_secs(600);

impl Issuer {
    /// Revokes the token. One that is unknown, malformed or expired is revoked enough already.
    ///
    /// # Errors
    ///
    /// When the client is not authenticated, the token was issued to another one, or the store cannot be written.
    pub(crate) async fn revoke(
        &self,
        origin: &Origin,
        read: impl Future<Output = Result<TokenQuestion, IssueError>>,
    ) -> Result<(), IssueError> {
        let mut decision = Decision::new(origin, "revoke_token");
        let span = decision.span().clone();
        let revoked = self.put_on_list(origin, read, &mut decision).instrument(span).await;
        match &revoked {
            Ok(Some(token_id)) => answered(&decision, "revoked", Some(token_id)),
            Ok(None) => answered(&decision, "nothing_to_revoke", None),
            Err(error) => refused(&decision, error),
        }
        revoked.map(drop)
    }

    /// The `jti` of what was revoked.
    async fn put_on_list(
        &self,
        origin: &Origin,
        read: impl Future<Output = Result<TokenQuestion, IssueError>>,
        decision: &mut Decision<'_>,
    ) -> Result<Option<String>, IssueError> {
        let (client, token) = self.question(origin, read, decision).await?;
        let Some(token) = self.own_tokens.verify(token.expose_secret())? else { return Ok(None) };
        if token.client_id() != client.id().as_str() {
            return Err(IssueError::ClientNotAuthorized("The token was issued to another client."));
        }
        self.limits.revocation(client.id())?;
        let revocation = Revocation {
            target: RevocationTarget::TokenId(token.token_id().to_owned()),
            revoked_before: self.clock.now(),
            forget_time: token.expires_at() + LEEWAY_MAX,
        };
        self.revocations.revoke(revocation, None).await.map_err(|error| IssueError::Unavailable(error.into()))?;
        Ok(Some(token.token_id().to_owned()))
    }
}
