//! The token exchange grant: a service acts on behalf of whom it serves. RFC 8693.
//!
//! * **Delegation** is the rule: the new token keeps the subject, and names in `act` who acts, with those who
//!   acted before inside. **Impersonation**, without a new actor, only where the client is registered for it.
//! * Rights only narrow. A scope is granted at an audience when the exchanging client is registered for it there
//!   *and* the subject has it: by the subject token where that is for the audience, otherwise by the subject's
//!   own registration there. So neither a token nor a registration reaches further by being exchanged.
//! * The new token never outlives the ones that it was made from.

use std::{collections::BTreeSet, sync::Arc, time::SystemTime};

use secrecy::SecretString;
use serde_json::{Map, Value};
use token_interceptor::token::VerifiedToken;

use super::{Authorization, RequestedAccess, access};
use crate::{
    client::{Client, Grant, GrantType, Scope, authenticate::AuthenticatedClient},
    error::IssueError,
    mint::is_reserved,
};

/// Actors within one another, at the most: verifiers bound the depth of claims.
const ACTORS_MAX: usize = 5;

/// What the request asks for.
#[derive(Debug)]
pub struct Request {
    /// Audiences, scopes, lifetime.
    pub access: RequestedAccess,
    /// On whose behalf.
    pub subject: SecretString,
    /// Who acts, where it is not the client itself.
    pub actor: Option<SecretString>,
}

/// Who is behind the tokens of a request, verified.
#[derive(Debug)]
pub(crate) struct Parties {
    pub(crate) subject: VerifiedToken,
    /// The subject's own registration, where the subject is a client.
    pub(crate) subject_client: Option<Arc<Client>>,
    pub(crate) actor: Option<VerifiedToken>,
}

/// For whom a token stands that is not the client that it was issued to.
#[derive(Debug)]
pub struct OnBehalf {
    subject: String,
    /// `act`, as it goes into the token.
    act: Option<Value>,
    claims: Map<String, Value>,
    not_after: SystemTime,
    subject_token_id: String,
}

impl OnBehalf {
    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
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

    /// `jti` of the subject token, for the record.
    #[must_use]
    pub fn subject_token_id(&self) -> &str {
        &self.subject_token_id
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
    let in_common = in_common(&client, &parties);
    if in_common.is_empty() {
        return Err(IssueError::InvalidTarget("Subject and client have no audience in common.".into()));
    }
    let access = access::authorize(&in_common, &request.access)?;
    let on_behalf = on_behalf(&client, parties)?;
    Ok(Authorization { client, access, lifetime: request.access.lifetime, on_behalf: Some(Box::new(on_behalf)) })
}

/// What both may do, audience by audience. All of it is the default.
fn in_common(client: &Client, parties: &Parties) -> Vec<Grant> {
    let narrowed = client.grants.iter().map(|grant| {
        let scopes: BTreeSet<Scope> =
            grant.scopes.iter().filter(|scope| subject_has(parties, grant, scope)).cloned().collect();
        Grant { audience: grant.audience.clone(), default_scopes: scopes.clone(), scopes }
    });
    narrowed.filter(|grant| !grant.scopes.is_empty()).collect()
}

fn subject_has(parties: &Parties, grant: &Grant, scope: &Scope) -> bool {
    let audience = grant.audience.as_str();
    if parties.subject.audiences().any(|known| known == audience) {
        return parties.subject.has_scope(scope.as_str());
    }
    let registered = parties.subject_client.as_ref().and_then(|client| client.grant(audience));
    registered.is_some_and(|grant| grant.scopes.contains(scope))
}

fn on_behalf(client: &Client, parties: Parties) -> Result<OnBehalf, IssueError> {
    let Parties { subject, subject_client, actor } = parties;
    if subject_client.is_some_and(|subject| subject.disabled) {
        return Err(IssueError::InvalidGrant("The subject is disabled."));
    }
    let acting = match &actor {
        Some(actor) => Some(actor.subject()),
        None if client.may_impersonate => None,
        None => Some(client.id.as_str()),
    };
    check_may_act(&subject, acting)?;
    let before = subject.claims().get("act").cloned();
    if acting.is_some() && subject.actors().len() >= ACTORS_MAX {
        return Err(IssueError::InvalidGrant("The subject token has been delegated too often."));
    }
    let not_after = actor.as_ref().map_or(subject.expires_at(), |actor| actor.expires_at().min(subject.expires_at()));
    Ok(OnBehalf {
        subject: subject.subject().to_owned(),
        act: match acting {
            Some(acting) => Some(nested(acting, before)),
            None => before,
        },
        claims: subject.claims().iter().filter(|(name, _)| !is_reserved(name)).map(owned).collect(),
        not_after,
        subject_token_id: subject.token_id().to_owned(),
    })
}

/// RFC 8693 section 4.4: where the subject token says who may act, nobody else may.
fn check_may_act(subject: &VerifiedToken, acting: Option<&str>) -> Result<(), IssueError> {
    let Some(may_act) = subject.claims().get("may_act") else { return Ok(()) };
    if acting.is_some() && may_act.get("sub").and_then(Value::as_str) == acting {
        return Ok(());
    }
    Err(IssueError::InvalidGrant("The subject token names another actor in may_act."))
}

/// RFC 8693 section 4.1: the current actor outside, those before it inside.
fn nested(acting: &str, before: Option<Value>) -> Value {
    let mut act = Map::from_iter([("sub".to_owned(), acting.into())]);
    act.extend(before.map(|before| ("act".to_owned(), before)));
    Value::Object(act)
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}
