//! The token exchange grant: a service acts on behalf of whom it serves. RFC 8693.
//!
//! * **Delegation** is the rule: the new token keeps the subject, and names in `act` who acts, with those who
//!   acted before inside. **Impersonation**, without a new actor, only where the client is registered for it.
//! * Rights only narrow. A scope is granted at an audience when the exchanging client is registered for it there
//!   *and* the subject has it: by the subject token where that is for the audience, otherwise by the subject's
//!   own registration there. So neither a token nor a registration reaches further by being exchanged. What a
//!   subject of an identity provider has, the operator says beside the provider.
//! * The new token never outlives the ones that it was made from.

mod parties;

use std::{collections::BTreeSet, time::SystemTime};

use serde_json::{Map, Value};

pub(crate) use parties::{Actor, Parties, Subject};

use super::{Authorization, RequestedAccess, access};
use crate::{
    client::{Client, Grant, GrantType, Scope},
    client_authentication::AuthenticatedClient,
    error::IssueError,
    federation::SubjectId,
    security_token::SecurityToken,
};

/// Actors within one another, at the most: verifiers bound the depth of claims.
const ACTORS_MAX: usize = 5;

/// Tokens that a token was made from, at the most: each takes some 60 bytes of it.
const ANCESTORS_MAX: usize = 10;

/// What the request asks for.
#[derive(Debug)]
pub struct Request {
    /// Audiences, scopes, lifetime.
    pub access: RequestedAccess,
    /// On whose behalf.
    pub subject: SecurityToken,
    /// Who acts, where it is not the client itself.
    pub actor: Option<SecurityToken>,
}

/// For whom a token stands that is not the client that it was issued to.
#[derive(Debug)]
pub struct OnBehalf {
    subject: String,
    foreign: Option<SubjectId>,
    /// `act`, as it goes into the token.
    act: Option<Value>,
    claims: Map<String, Value>,
    not_after: SystemTime,
    subject_token_id: Option<String>,
    ancestors: Vec<Value>,
}

impl OnBehalf {
    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `sub_id`: who the subject is at its identity provider, where it comes from one.
    #[must_use]
    pub fn foreign(&self) -> Option<&SubjectId> {
        self.foreign.as_ref()
    }

    /// `act`: who acts, and within it who acted before. RFC 8693 section 4.1.
    #[must_use]
    pub fn act(&self) -> Option<&Value> {
        self.act.as_ref()
    }

    /// The subject's custom claims: they describe the subject, so they go where it goes.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The end of the tokens that it was made from.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The tokens of this issuer that it was made from, and those that they were made from: to revoke one of them
    /// revokes it too.
    #[must_use]
    pub fn ancestors(&self) -> &[Value] {
        &self.ancestors
    }

    /// `jti` of the subject token, for the record; some identity providers write none.
    #[must_use]
    pub fn subject_token_id(&self) -> Option<&str> {
        self.subject_token_id.as_deref()
    }
}

/// Decides what the client gets.
///
/// # Errors
///
/// `unauthorized_client`, `invalid_target`, `invalid_scope`, and [`IssueError::InvalidGrant`] for tokens that do
/// not allow it.
pub(crate) fn authorize(
    client: AuthenticatedClient,
    request: &Request,
    parties: Parties,
) -> Result<Authorization, IssueError> {
    let client = client.into_client();
    if !client.may_use(GrantType::TokenExchange) {
        return Err(IssueError::ClientNotAuthorized("The client is not registered for token exchange."));
    }
    let in_common = in_common(&client, &parties.subject);
    if in_common.is_empty() {
        return Err(IssueError::InvalidTarget("Subject and client have no audience in common.".into()));
    }
    let access = access::authorize(&in_common, &request.access)?;
    let on_behalf = on_behalf(&client, parties)?;
    Ok(Authorization { client, access, lifetime: request.access.lifetime, on_behalf: Some(Box::new(on_behalf)) })
}

/// What both may do, audience by audience. Of a subject of ours all of it is the default; one that comes from
/// elsewhere has asked for nothing yet, so the client's own defaults are.
fn in_common(client: &Client, subject: &Subject) -> Vec<Grant> {
    let narrowed = client.grants.iter().map(|grant| {
        let audience = grant.audience.as_str();
        let may_have = |scopes: &BTreeSet<Scope>| -> BTreeSet<Scope> {
            scopes.iter().filter(|scope| subject.may_have(audience, scope)).cloned().collect()
        };
        let scopes = may_have(&grant.scopes);
        let default_scopes = if subject.is_ours() { scopes.clone() } else { may_have(&grant.default_scopes) };
        Grant { audience: grant.audience.clone(), default_scopes, scopes }
    });
    narrowed.filter(|grant| !grant.scopes.is_empty()).collect()
}

fn on_behalf(client: &Client, parties: Parties) -> Result<OnBehalf, IssueError> {
    let Parties { subject, actor, issuer } = parties;
    if subject.is_disabled() {
        return Err(IssueError::InvalidGrant("The subject is disabled."));
    }
    let acting = match actor {
        Some(actor) => Some(actor),
        None if client.may_impersonate => None,
        None => Some(Actor::client(client, issuer)),
    };
    let mut ancestors = subject.ancestors();
    for ancestor in acting.iter().flat_map(Actor::ancestors) {
        if !ancestors.contains(ancestor) {
            ancestors.push(ancestor.clone());
        }
    }
    if ancestors.len() > ANCESTORS_MAX {
        return Err(IssueError::InvalidGrant("The tokens have been exchanged too often."));
    }
    let ends = acting.as_ref().and_then(Actor::not_after);
    let not_after = ends.map_or(subject.not_after(), |ends| ends.min(subject.not_after()));
    subject.check_may_act(acting.as_ref())?;
    if acting.is_some() && subject.actors() >= ACTORS_MAX {
        return Err(IssueError::InvalidGrant("The subject token has been delegated too often."));
    }
    Ok(OnBehalf {
        subject: subject.name().to_owned(),
        act: match &acting {
            Some(acting) => Some(nested(acting.name(), subject.act())),
            None => subject.act(),
        },
        claims: subject.claims(),
        not_after,
        subject_token_id: subject.token_id().map(str::to_owned),
        ancestors,
        foreign: subject.into_foreign(),
    })
}

/// RFC 8693 section 4.1: the current actor outside, those before it inside.
fn nested(acting: &str, before: Option<Value>) -> Value {
    let mut act = Map::from_iter([("sub".to_owned(), acting.into())]);
    act.extend(before.map(|before| ("act".to_owned(), before)));
    Value::Object(act)
}
