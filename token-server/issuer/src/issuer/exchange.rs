//! The parties behind the tokens of an exchange. RFC 8693 section 2.1.

use std::sync::Arc;

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use token_interceptor::token::VerifiedToken;

use super::Issuer;
use crate::{
    audit::{Decision, Role},
    client::{Client, ClientId},
    error::IssueError,
    grant::token_exchange::{Parties, Request, Subject, may_bring},
    identity_provider::{SubjectId, claimed},
    security_token::{SecurityToken, TokenType},
};

impl Issuer {
    /// Verifies the tokens that `client` presents, and determines the origin of their subjects.
    pub(super) async fn parties(
        &self,
        client: &Client,
        request: &Request,
        decision: &mut Decision<'_>,
    ) -> Result<Parties, IssueError> {
        let subject = self.party(client, &request.subject, Role::Subject, decision).await?;
        let actor = match &request.actor {
            None => None,
            Some(actor) => Some(self.party(client, actor, Role::Actor, decision).await?),
        };
        Ok(Parties { subject, actor, issuer: Arc::clone(&self.settings.terms.issuer) })
    }

    async fn party(
        &self,
        client: &Client,
        token: &SecurityToken,
        role: Role,
        decision: &mut Decision<'_>,
    ) -> Result<Subject, IssueError> {
        let text = token.value.expose_secret();
        let claimed = claimed(text).ok_or_else(|| invalid(role, "malformed: its claims cannot be read".to_owned()))?;
        decision.claimed_token(role, text_of(&claimed, "jti"));
        let subject = if text_of(&claimed, "iss") == &*self.settings.terms.issuer {
            self.own_party(client, token, (role, &claimed)).await?
        } else {
            let verified = self.settings.federation.verify(&client.id, token, self.clock.now()).await?;
            Subject::federated(verified)
        };
        decision.party(role, &subject);
        if subject.foreign().is_some() && self.registered(subject.name()).await?.is_some() {
            // Otherwise two subjects would have one name.
            return Err(IssueError::invalid_grant("The subject's name collides with a registered client ID."));
        }
        Ok(subject)
    }

    /// Returns the subject of a token of ours. The token's claims decide if the client may present it, before
    /// it is verified. A client therefore learns nothing about tokens that are not for it.
    async fn own_party(
        &self,
        client: &Client,
        token: &SecurityToken,
        (role, claimed): (Role, &Map<String, Value>),
    ) -> Result<Subject, IssueError> {
        if token.kind == TokenType::IdToken {
            return Err(IssueError::invalid_request("This issuer issues access tokens, not ID tokens."));
        }
        if !may_bring(client, text_of(claimed, "client_id"), audiences(claimed)) {
            return Err(IssueError::invalid_grant(match role {
                Role::Subject => NOT_FOR_THE_CLIENT,
                Role::Actor => ACTOR_NOT_FOR_THE_CLIENT,
            }));
        }
        let verified = self.own_tokens.verify(token.value.expose_secret())?;
        let verified = verified.ok_or_else(|| invalid(role, "it is forged, expired or revoked".to_owned()))?;
        self.expect_client(verified.client_id(), ISSUED_TO).await?;
        self.expect_actors(&verified).await?;
        let Some(id) = SubjectId::of(&verified) else {
            let subject = self.expect_client(verified.subject(), SUBJECT).await?;
            return Ok(Subject::local(verified, subject));
        };
        let rules = self.settings.federation.exchange(&id.issuer).cloned();
        match rules.filter(|rules| rules.subjects.allows(&id.subject)) {
            Some(rules) => Ok(Subject::previously_federated(verified, id, rules)),
            None => Err(IssueError::invalid_grant("The subject's identity provider is no longer trusted for it.")),
        }
    }

    /// Checks that every earlier actor still exists: an enabled client, or a subject of a trusted provider.
    async fn expect_actors(&self, token: &VerifiedToken) -> Result<(), IssueError> {
        for actor in token.actors() {
            if !self.settings.federation.names(actor.subject()) {
                self.expect_client(actor.subject(), ACTOR).await?;
            }
        }
        Ok(())
    }

    async fn expect_client(&self, id: &str, gone: [&'static str; 2]) -> Result<Arc<Client>, IssueError> {
        let [deleted, disabled] = gone;
        match self.registered(id).await? {
            None => Err(IssueError::invalid_grant(deleted)),
            Some(client) if client.disabled => Err(IssueError::invalid_grant(disabled)),
            Some(client) => Ok(client),
        }
    }

    async fn registered(&self, subject: &str) -> Result<Option<Arc<Client>>, IssueError> {
        let Ok(id) = ClientId::try_from(subject) else { return Ok(None) };
        self.clients.registry.find(&id).await.map_err(|error| IssueError::Unavailable(error.into()))
    }
}

const NOT_FOR_THE_CLIENT: &str = "The subject token was not issued for this client. Its audience must be the client's \
                                  ID or one of the client's subject audiences, which an operator sets.";
const ACTOR_NOT_FOR_THE_CLIENT: &str = "The actor token was not issued for this client. Its audience must be the \
                                        client's ID or one of the client's subject audiences, which an operator sets.";
const SUBJECT: [&str; 2] = ["The token's subject was deleted.", "The token's subject is disabled."];
const ACTOR: [&str; 2] = ["An actor of the token was deleted.", "An actor of the token is disabled."];
const ISSUED_TO: [&str; 2] =
    ["The client that the token was issued to was deleted.", "The client that the token was issued to is disabled."];

fn invalid(role: Role, detail: String) -> IssueError {
    let sentence = match role {
        Role::Subject => "The subject token is invalid.",
        Role::Actor => "The actor token is invalid.",
    };
    IssueError::invalid_grant_because(sentence, format!("{}: {detail}", role.parameter()))
}

fn text_of<'c>(claims: &'c Map<String, Value>, name: &str) -> &'c str {
    claims.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// RFC 7519 section 4.1.3: one audience may be a plain string.
fn audiences(claims: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let audience = claims.get("aud");
    let several = audience.and_then(Value::as_array).into_iter().flatten();
    audience.into_iter().chain(several).filter_map(Value::as_str)
}
