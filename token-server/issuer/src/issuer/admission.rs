//! Admission: the peer's limit applies before a request is decoded.

use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::encryption::is_encrypted;
use tracing::Instrument as _;

use super::{Issuer, answered, refused};
use crate::{
    audit::Decision,
    client_authentication::AuthenticatedClient,
    error::IssueError,
    limit::QuotaStatus,
    mint::MintedToken,
    origin::Origin,
    request::{GrantRequest, TokenQuery},
};

/// The operations of the issuer, as the audit stream and the metrics name them.
///
/// Exhaustive: the audit log must name a new operation before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A grant at the token endpoint, until the request says that it is a token exchange.
    IssueToken,
    /// A token exchange.
    ExchangeToken,
    /// An introspection.
    IntrospectToken,
    /// A revocation by a client.
    RevokeToken,
    /// A request for the claims about the caller.
    GetUserInfo,
}

impl Operation {
    const fn name(self) -> &'static str {
        match self {
            Self::IssueToken => "issue_token",
            Self::ExchangeToken => "exchange_token",
            Self::IntrospectToken => "introspect_token",
            Self::RevokeToken => "revoke_token",
            Self::GetUserInfo => "get_user_info",
        }
    }
}

impl Issuer {
    /// Admits a request of a peer that is within its limit.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] beyond the limit; the refusal is audited.
    pub fn admit(&self, origin: &Origin, operation: Operation) -> Result<Admitted<'_>, IssueError> {
        let decision = Decision::owned(origin.clone(), operation.name());
        match self.limits.peer(origin.peer()) {
            Ok(()) => Ok(Admitted { issuer: self, decision, open: true }),
            Err(error) => {
                refused(&decision, &error);
                Err(error)
            }
        }
    }
}

/// A request whose peer is within its limit. Only [`Issuer::admit`] creates one, so every request passes the
/// limit. If it is dropped without an outcome, it is audited as abandoned.
pub struct Admitted<'a> {
    pub(super) issuer: &'a Issuer,
    pub(super) decision: Decision<'static>,
    open: bool,
}

impl<'a> Admitted<'a> {
    /// Issues a token for the request, which was decoded after admission. A request that could not be decoded
    /// is audited too.
    ///
    /// # Errors
    ///
    /// The errors of the decoding and of each stage.
    pub fn issue(
        mut self,
        request: Result<GrantRequest, IssueError>,
    ) -> impl Future<Output = Result<MintedToken, IssueError>> + Send + 'a {
        // Boxed, because it would otherwise be copied with the future.
        let request = request.map(Box::new);
        async move {
            let span = self.decision.span().clone();
            let issued = async { self.decide(&*request?).await }.instrument(span).await;
            match &issued {
                Ok(token) => {
                    self.issuer.issued.increment(1);
                    self.close().issued(token);
                }
                Err(error) => self.refuse(error),
            }
            issued
        }
    }

    async fn decide(&mut self, request: &GrantRequest) -> Result<MintedToken, IssueError> {
        let GrantRequest { client, grant } = request;
        self.decision.is(grant.operation());
        self.decision.claimed_by(client.claimed_id());
        let client = self.issuer.authenticate(self.decision.origin(), client).await?;
        self.decision.authenticated(&client);
        let authorization = self.issuer.authorize(client, grant, &mut self.decision).await?;
        if self.issuer.quotas.take(&authorization.client().id, self.issuer.clock.now())? == QuotaStatus::Exceeded {
            self.decision.beyond_quota();
        }
        self.issuer.mint(authorization)
    }

    /// Authenticates the client that asks about a token.
    pub(super) async fn authenticate_query(
        &mut self,
        question: Result<TokenQuery, IssueError>,
    ) -> Result<(AuthenticatedClient, SecretString), IssueError> {
        let TokenQuery { client, token } = question?;
        self.decision.claimed_by(client.claimed_id());
        let client = self.issuer.authenticate(self.decision.origin(), &client).await?;
        self.decision.authenticated(&client);
        // "Inactive" or "revoked" would be wrong for a token that may be valid.
        if is_encrypted(token.expose_secret()) {
            return Err(IssueError::invalid_request("The token is encrypted; only its audience can open it."));
        }
        Ok((client, token))
    }

    /// Returns the decision, and marks that it has an outcome.
    pub(super) fn close(&mut self) -> &Decision<'static> {
        self.open = false;
        &self.decision
    }

    pub(super) fn refuse(&mut self, error: &IssueError) {
        refused(self.close(), error);
    }
}

impl Drop for Admitted<'_> {
    /// The caller has disconnected. A revocation may have been written all the same.
    fn drop(&mut self) {
        if self.open {
            answered(self.close(), "abandoned", None);
        }
    }
}
