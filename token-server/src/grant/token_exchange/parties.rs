//! Who is behind the tokens of an exchange, and what each of them has.

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
    federation::{ForeignToken, IdentityProvider, SubjectId},
    reserved_claims::is_reserved,
};

/// Who is behind the tokens of a request, verified.
#[derive(Debug)]
pub(crate) struct Parties {
    pub(crate) subject: Subject,
    pub(crate) actor: Option<Actor>,
    /// This issuer.
    pub(crate) issuer: Arc<str>,
}

/// On whose behalf the new token is asked for.
#[derive(Debug)]
pub(crate) struct Subject {
    token: VerifiedToken,
    /// `sub`, as this issuer writes it.
    name: String,
    home: Home,
}

/// Where a subject comes from, and so what it has beyond its token.
#[derive(Debug)]
enum Home {
    /// It is known here: by its registration, where it has one.
    Here(Option<Arc<Client>>),
    /// An identity provider vouches for it in this very token.
    There(SubjectId, Arc<IdentityProvider>),
    /// An identity provider vouched for it when it came; `None` where that one is trusted no more.
    ThereBefore(SubjectId, Option<Arc<IdentityProvider>>),
}

impl Subject {
    /// The subject of a token of ours.
    pub(crate) fn here(token: VerifiedToken, client: Option<Arc<Client>>) -> Self {
        Self { name: token.subject().to_owned(), token, home: Home::Here(client) }
    }

    /// The subject of a token of ours, which an identity provider vouched for at first.
    pub(crate) fn there_before(token: VerifiedToken, id: SubjectId, provider: Option<Arc<IdentityProvider>>) -> Self {
        Self { name: token.subject().to_owned(), token, home: Home::ThereBefore(id, provider) }
    }

    /// The subject of an identity provider's token.
    pub(crate) fn there(foreign: ForeignToken) -> Self {
        let ForeignToken { token, id, provider } = foreign;
        Self { name: provider.namespace.name(&id.subject), token, home: Home::There(id, provider) }
    }

    /// `sub`, as this issuer writes it.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.home, Home::There(..))
    }

    pub(super) fn is_disabled(&self) -> bool {
        matches!(&self.home, Home::Here(Some(client)) if client.disabled)
    }

    pub(super) fn not_after(&self) -> SystemTime {
        self.token.expires_at()
    }

    /// `jti`, where there is one.
    pub(super) fn token_id(&self) -> Option<&str> {
        Some(self.token.token_id()).filter(|id| !id.is_empty())
    }

    pub(super) fn into_foreign(self) -> Option<SubjectId> {
        match self.home {
            Home::Here(_) => None,
            Home::There(id, _) | Home::ThereBefore(id, _) => Some(id),
        }
    }

    /// Whether the subject itself has the scope at the audience.
    pub(super) fn may_have(&self, audience: &str, scope: &Scope) -> bool {
        if let Home::There(_, provider) = &self.home {
            // The provider knows no scopes of ours. Where the operator has not said what its subjects may have,
            // the exchanging client, which the operator has named for it, is the bound.
            return provider.grants(audience, scope).unwrap_or(true);
        }
        if self.token.audiences().any(|known| known == audience) {
            return self.token.has_scope(scope.as_str());
        }
        match &self.home {
            Home::Here(client) => {
                let registered = client.as_ref().and_then(|client| client.grant(audience));
                registered.is_some_and(|grant| grant.scopes.contains(scope))
            }
            Home::There(_, provider) | Home::ThereBefore(_, Some(provider)) => {
                provider.grants(audience, scope).unwrap_or(false)
            }
            Home::ThereBefore(_, None) => false,
        }
    }

    /// How many have acted so far.
    pub(super) fn actors(&self) -> usize {
        self.token.actors().len()
    }

    /// The token itself and those that it was derived from, as far as this issuer issued them.
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

    /// `act`: who has acted so far. Those that an identity provider names are named as its subjects are, so that
    /// none of them is mistaken for a client of ours.
    pub(super) fn act(&self) -> Option<Value> {
        let Home::There(_, provider) = &self.home else { return self.token.claims().get("act").cloned() };
        let actors = self.token.actors().iter().rev();
        actors.fold(None, |before, actor| Some(nested(&provider.namespace.name(actor.subject()), before)))
    }

    /// The claims that describe the subject, so they go where it goes. Of an identity provider's those that the
    /// operator has named.
    pub(super) fn claims(&self) -> Map<String, Value> {
        let copied = |name: &String| match &self.home {
            Home::Here(_) | Home::ThereBefore(..) => true,
            Home::There(_, provider) => provider.copied_claims.contains(name),
        };
        let claims = self.token.claims().iter().filter(|(name, _)| !is_reserved(name) && copied(name));
        claims.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// RFC 8693 section 4.4: where the subject token says who may act, nobody else may. An actor without `iss` is
    /// one of the token's own issuer.
    pub(super) fn check_may_act(&self, acting: Option<&Actor>) -> Result<(), IssueError> {
        let Some(may_act) = self.token.claims().get("may_act") else { return Ok(()) };
        let issuer = match may_act.get("iss") {
            None => Some(self.token.issuer()),
            Some(issuer) => issuer.as_str(),
        };
        let named = issuer.zip(may_act.get("sub").and_then(Value::as_str));
        if let (Some(acting), Some((issuer, subject))) = (acting, named)
            && acting.is(issuer, subject)
        {
            return Ok(());
        }
        Err(IssueError::InvalidGrant("The subject token names another actor in may_act."))
    }
}

/// Who acts for the subject.
#[derive(Debug)]
pub(crate) struct Actor {
    /// As this issuer writes it.
    name: String,
    /// This issuer.
    issuer: Arc<str>,
    /// Who it is at the identity provider that it comes from.
    foreign: Option<SubjectId>,
    /// The end of its token.
    not_after: Option<SystemTime>,
    /// Its token and those that it was derived from.
    ancestors: Vec<Value>,
}

impl Actor {
    /// The client that asks.
    pub(super) fn client(client: &Client, issuer: Arc<str>) -> Self {
        Self { name: client.id.as_str().to_owned(), issuer, foreign: None, not_after: None, ancestors: Vec::new() }
    }

    /// The subject of an actor token.
    pub(crate) fn of(subject: Subject, issuer: Arc<str>) -> Self {
        let (name, not_after, ancestors) = (subject.name.clone(), subject.not_after(), subject.ancestors());
        Self { name, issuer, foreign: subject.into_foreign(), not_after: Some(not_after), ancestors }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    pub(super) fn ancestors(&self) -> &[Value] {
        &self.ancestors
    }

    /// Whether that is who `subject` is at `issuer`.
    fn is(&self, issuer: &str, subject: &str) -> bool {
        let here = *self.issuer == *issuer && self.name == subject;
        here || self.foreign.as_ref().is_some_and(|id| id.issuer == issuer && id.subject == subject)
    }
}
