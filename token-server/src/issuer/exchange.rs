//! Who is behind the tokens of an exchange. RFC 8693 section 2.1.

use std::sync::Arc;

use secrecy::ExposeSecret as _;

use super::Issuer;
use crate::{
    client::{Client, ClientId},
    error::IssueError,
    federation::{SubjectId, named_issuer},
    grant::token_exchange::{Actor, Parties, Request, Subject},
    security_token::{SecurityToken, TokenType},
};

impl Issuer {
    /// Verifies the tokens that `client` brings, and finds out where their subjects come from.
    pub(super) async fn parties(&self, client: &ClientId, request: &Request) -> Result<Parties, IssueError> {
        let issuer = Arc::clone(&self.settings.terms.issuer);
        let subject = self.subject(client, &request.subject, "The subject token is not a good one.").await?;
        let actor = match &request.actor {
            None => None,
            Some(actor) => {
                let actor = self.subject(client, actor, "The actor token is not a good one.").await?;
                Some(Actor::of(actor, Arc::clone(&issuer)))
            }
        };
        Ok(Parties { subject, actor, issuer })
    }

    async fn subject(
        &self,
        client: &ClientId,
        token: &SecurityToken,
        otherwise: &'static str,
    ) -> Result<Subject, IssueError> {
        let text = token.value.expose_secret();
        let issuer = named_issuer(text).ok_or(IssueError::InvalidGrant(otherwise))?;
        if *issuer != *self.settings.terms.issuer {
            let federation = &self.settings.federation;
            let subject = Subject::there(federation.verify(client, token, self.clock.now()).await?);
            return match self.registered(subject.name()).await? {
                // Two would have one name.
                Some(_) => Err(IssueError::InvalidGrant("The subject has the name of a client.")),
                None => Ok(subject),
            };
        }
        if token.kind == TokenType::IdToken {
            return Err(IssueError::invalid_request("This issuer's tokens are access tokens, and no ID tokens."));
        }
        let verified = self.own_tokens.verify(text)?.ok_or(IssueError::InvalidGrant(otherwise))?;
        if let Some(id) = SubjectId::of(&verified) {
            let provider = self.settings.federation.provider(&id.issuer).cloned();
            return Ok(Subject::there_before(verified, id, provider));
        }
        let registered = self.registered(verified.subject()).await?;
        Ok(Subject::here(verified, registered))
    }

    async fn registered(&self, subject: &str) -> Result<Option<Arc<Client>>, IssueError> {
        let Ok(id) = ClientId::try_from(subject) else { return Ok(None) };
        self.clients.registry.find(&id).await.map_err(|error| IssueError::Unavailable(error.into()))
    }
}
