//! The parties behind the tokens of an exchange, and the access of each.

use std::{sync::Arc, time::SystemTime};

use serde_json::{Map, Value};
use token_interceptor::{
    clock::numeric_date,
    token::{Ancestor, VerifiedToken},
};

use super::nested;
use crate::{
    client::{Client, Scope},
    error::IssueError,
    identity_provider::{ExchangeRules, ForeignToken, SubjectId},
    reserved_claims::is_reserved,
};

/// The verified parties behind the tokens of a request.
#[derive(Debug)]
pub(crate) struct Parties {
    pub(crate) subject: Subject,
    /// The subject of the actor token.
    pub(crate) actor: Option<Subject>,
    /// This issuer.
    pub(crate) issuer: Arc<str>,
}

/// The subject of a token of the request.
#[derive(Debug)]
pub(crate) struct Subject {
    token: VerifiedToken,
    /// The subject's name, as this issuer writes it in `sub`.
    name: String,
    origin: SubjectOrigin,
}

/// The origin of a subject, which decides its access beyond the token.
#[derive(Debug)]
enum SubjectOrigin {
    /// A client of this issuer.
    Local(Arc<Client>),
    /// An identity provider vouches for it in this very token.
    Federated(SubjectId, Arc<ExchangeRules>),
    /// An identity provider vouched for it when it came.
    PreviouslyFederated(SubjectId, Arc<ExchangeRules>),
}

impl Subject {
    /// The subject of a token of ours.
    pub(crate) fn local(token: VerifiedToken, client: Arc<Client>) -> Self {
        Self { name: token.subject().to_owned(), token, origin: SubjectOrigin::Local(client) }
    }

    /// The subject of a token of ours, which an identity provider vouched for at first.
    pub(crate) fn previously_federated(token: VerifiedToken, id: SubjectId, rules: Arc<ExchangeRules>) -> Self {
        Self { name: token.subject().to_owned(), token, origin: SubjectOrigin::PreviouslyFederated(id, rules) }
    }

    /// The subject of an identity provider's token.
    pub(crate) fn federated(foreign: ForeignToken) -> Self {
        let ForeignToken { token, id, rules } = foreign;
        Self { name: rules.namespace.name(&id.subject), token, origin: SubjectOrigin::Federated(id, rules) }
    }

    /// The subject's name, as this issuer writes it in `sub`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.origin, SubjectOrigin::Federated(..))
    }

    /// Returns its identity at its identity provider, if it comes from one.
    pub(crate) fn foreign(&self) -> Option<&SubjectId> {
        match &self.origin {
            SubjectOrigin::Local(_) => None,
            SubjectOrigin::Federated(id, _) | SubjectOrigin::PreviouslyFederated(id, _) => Some(id),
        }
    }

    /// Returns true if its token has the scope at any audience.
    pub(super) fn has_in_token(&self, scope: &Scope) -> bool {
        self.token.has_scope(scope.as_str())
    }

    /// Returns true if it is a token of ours for the audience, so that the token's scopes count there.
    pub(super) fn token_names(&self, audience: &str) -> bool {
        self.is_ours() && self.token.audiences().any(|known| known == audience)
    }

    pub(super) fn not_after(&self) -> SystemTime {
        self.token.expires_at()
    }

    /// The token's `jti`, if it has one.
    pub(crate) fn token_id(&self) -> Option<&str> {
        Some(self.token.token_id()).filter(|id| !id.is_empty())
    }

    pub(super) fn into_foreign(self) -> Option<SubjectId> {
        match self.origin {
            SubjectOrigin::Local(_) => None,
            SubjectOrigin::Federated(id, _) | SubjectOrigin::PreviouslyFederated(id, _) => Some(id),
        }
    }

    /// Returns true if the subject itself has the scope at the audience.
    pub(super) fn may_have(&self, audience: &str, scope: &Scope) -> bool {
        if let SubjectOrigin::Federated(_, rules) = &self.origin {
            // The provider knows none of our scopes. Without configured grants, the exchanging client, which
            // the operator has allowed, is the bound.
            return rules.grants(audience, scope).unwrap_or(true);
        }
        if self.token_names(audience) {
            return self.token.has_scope(scope.as_str());
        }
        match &self.origin {
            SubjectOrigin::Local(client) => client.grant(audience).is_some_and(|grant| grant.scopes.contains(scope)),
            SubjectOrigin::Federated(_, rules) | SubjectOrigin::PreviouslyFederated(_, rules) => {
                rules.grants(audience, scope).unwrap_or(false)
            }
        }
    }

    /// Returns the number of actors so far.
    pub(super) fn actors(&self) -> usize {
        self.token.actors().len()
    }

    /// The token itself and the tokens that it derives from, if this issuer issued them.
    pub(super) fn ancestors(&self) -> Vec<Value> {
        if !self.is_ours() {
            return Vec::new();
        }
        let token = &self.token;
        let itself = Ancestor {
            token_id: token.token_id(),
            client_id: token.client_id(),
            issued_at: numeric_date(token.issued_at()),
        };
        std::iter::once(itself).chain(token.ancestors()).map(|ancestor| ancestor.to_json()).collect()
    }

    /// Returns the actors so far, the last one first. Actors of an identity provider are named as its
    /// subjects are, so that none is mistaken for a client of ours.
    pub(super) fn chain(&self) -> impl DoubleEndedIterator<Item = String> {
        let named = |name: &str| match &self.origin {
            SubjectOrigin::Federated(_, rules) => rules.namespace.name(name),
            SubjectOrigin::Local(_) | SubjectOrigin::PreviouslyFederated(..) => name.to_owned(),
        };
        self.token.actors().iter().map(move |actor| named(actor.subject()))
    }

    /// `act`, with the same names.
    pub(super) fn act(&self) -> Option<Value> {
        self.chain().rev().fold(None, |before, name| Some(nested(&name, before)))
    }

    /// The claims that describe the subject and follow it. Of an identity provider's claims, only those that
    /// the operator has named.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let copied = |name: &String| match &self.origin {
            SubjectOrigin::Local(_) | SubjectOrigin::PreviouslyFederated(..) => true,
            SubjectOrigin::Federated(_, rules) => rules.copied_claims.contains(name),
        };
        let claims = self.token.claims().iter().filter(|(name, _)| !is_reserved(name) && copied(name));
        claims.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Checks `may_act`. RFC 8693 section 4.4: if the subject token names an actor, the acting client must be
    /// that actor. `client` is its issuer and its ID. An identity provider's actor token may name the actor
    /// in place of the client, because it was issued for an exchange here. A token of ours does not prove
    /// that, because every server that receives it holds it. A name without `iss` belongs to the subject
    /// token's own issuer.
    pub(super) fn check_may_act(&self, client: Option<(&str, &str)>, actor: Option<&Self>) -> Result<(), IssueError> {
        let Some(may_act) = self.token.claims().get("may_act") else { return Ok(()) };
        let issuer = match may_act.get("iss") {
            None => Some(self.token.issuer()),
            Some(issuer) => issuer.as_str(),
        };
        let named = issuer.zip(may_act.get("sub").and_then(Value::as_str));
        let vouched = actor.and_then(|actor| match &actor.origin {
            SubjectOrigin::Federated(id, _) if actor.token.actors().is_empty() => {
                Some((id.issuer.as_str(), id.subject.as_str()))
            }
            SubjectOrigin::Federated(..) | SubjectOrigin::Local(_) | SubjectOrigin::PreviouslyFederated(..) => None,
        });
        if named.is_some() && (named == client || named == vouched) {
            return Ok(());
        }
        Err(IssueError::invalid_grant("The subject token names another actor in may_act."))
    }
}
