//! Who is behind the tokens of an exchange. RFC 8693 section 2.1.

use secrecy::ExposeSecret as _;
use token_interceptor::token::VerifiedToken;

use super::Issuer;
use crate::{
    client::ClientId,
    error::IssueError,
    grant::token_exchange::{Parties, Request},
};

impl Issuer {
    /// Verifies the tokens, and finds the subject's registration.
    pub(super) async fn parties(&self, request: &Request) -> Result<Parties, IssueError> {
        let subject = self.good(request.subject.expose_secret(), "The subject token is not a good one.")?;
        let actor = request.actor.as_ref();
        let actor =
            actor.map(|actor| self.good(actor.expose_secret(), "The actor token is not a good one.")).transpose()?;
        let subject_client = match ClientId::try_from(subject.subject()) {
            Ok(id) => self.clients.registry.find(&id).await.map_err(|error| IssueError::Unavailable(error.into()))?,
            Err(_) => None,
        };
        Ok(Parties { subject, subject_client, actor })
    }

    fn good(&self, token: &str, otherwise: &'static str) -> Result<VerifiedToken, IssueError> {
        self.own_tokens.verify(token)?.ok_or(IssueError::InvalidGrant(otherwise))
    }
}
