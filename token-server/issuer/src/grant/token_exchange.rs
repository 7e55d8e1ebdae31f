//! The token exchange grant: a service acts on behalf of its caller. RFC 8693.
//!
//! * **Delegation** is the rule. The new token keeps the subject. Its `act` names the requesting client, with
//!   the earlier actors inside. The subject of an actor token stands inside the client, never in its place.
//!   **Impersonation**, without a new actor, needs a client that is registered for it and sends no actor
//!   token.
//! * A client exchanges only tokens that are meant for it: see [`may_bring`].
//! * Rights only narrow. A scope is granted at an audience if the exchanging client is registered for it
//!   there *and* the subject has it. The subject has the scopes of its token at the token's audiences, and
//!   its own registration at others. An exchange therefore widens neither a token nor a registration. The
//!   operator configures the grants of an identity provider's subjects with the provider.
//! * The new token never outlives the tokens that it derives from.

mod parties;

use std::{collections::BTreeSet, iter, time::SystemTime};

use serde_json::{Map, Value};

pub(crate) use parties::{Parties, Subject};

use super::{Access, GrantedAccess, RequestedAccess, access};
use crate::{
    client::{Audience, Client, Grant, GrantType, Scope},
    client_authentication::AuthenticatedClient,
    error::IssueError,
    identity_provider::SubjectId,
    security_token::SecurityToken,
};

/// The most nested actors. Verifiers bound the depth of claims.
const ACTORS_MAX: usize = 5;

/// The most tokens that a token derives from. Each takes some 60 bytes of it.
const ANCESTORS_MAX: usize = 10;

/// The parameters of the request.
#[derive(Debug)]
pub struct Request {
    /// The requested audiences, scopes and lifetime.
    pub access: RequestedAccess,
    /// The subject token.
    pub subject: SecurityToken,
    /// The actor, if it is not the client itself.
    pub actor: Option<SecurityToken>,
}

/// The subject of a token that is not the client that it was issued to.
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

    /// `sub_id`: the subject's identity at its identity provider, if it comes from one.
    #[must_use]
    pub fn foreign(&self) -> Option<&SubjectId> {
        self.foreign.as_ref()
    }

    /// `act`: the current actor, with the earlier actors inside. RFC 8693 section 4.1.
    #[must_use]
    pub fn act(&self) -> Option<&Value> {
        self.act.as_ref()
    }

    /// The subject's custom claims, which describe the subject and follow it.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// The earliest expiry of the tokens that it derives from.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// The tokens of this issuer that it derives from, directly or not. Revoking one of them revokes it too.
    #[must_use]
    pub fn ancestors(&self) -> &[Value] {
        &self.ancestors
    }

    /// The `jti` of the subject token, for the audit. Some identity providers write none.
    #[must_use]
    pub fn subject_token_id(&self) -> Option<&str> {
        self.subject_token_id.as_deref()
    }
}

/// Rejects a client that may not use this grant, before its tokens are read.
///
/// # Errors
///
/// `unauthorized_client`.
pub(crate) fn check_permitted(client: &Client) -> Result<(), IssueError> {
    if client.may_use(GrantType::TokenExchange) {
        return Ok(());
    }
    Err(IssueError::ClientNotAuthorized("The client is not registered for token exchange."))
}

/// Returns true if the client may exchange the access token of this issuer. The token must be issued to the
/// client, or its audiences must include the client or one that the client may exchange tokens of.
pub(crate) fn may_bring<'a>(client: &Client, issued_to: &str, mut audiences: impl Iterator<Item = &'a str>) -> bool {
    let id = client.id.as_str();
    issued_to == id || audiences.any(|audience| audience == id || client.subject_audiences.contains(audience))
}

/// Decides the client's access.
///
/// # Errors
///
/// `unauthorized_client`, `invalid_target`, `invalid_scope`, and [`IssueError::InvalidGrant`] for tokens that
/// do not allow it.
pub(crate) fn authorize(
    client: AuthenticatedClient,
    request: &Request,
    parties: Parties,
) -> Result<GrantedAccess, IssueError> {
    let (client, not_after) = client.into_parts();
    check_permitted(&client)?;
    let in_common = in_common(&client, &parties.subject);
    let access = access::authorize(&in_common, &request.access)
        .map_err(|refusal| lacking(refusal, &client, &parties.subject, &request.access))?;
    let on_behalf = on_behalf(&client, parties)?;
    let on_behalf = Some(Box::new(on_behalf));
    Ok(GrantedAccess { client, access, lifetime: request.access.lifetime, on_behalf, not_after })
}

/// Returns the rights that both have, by audience. The default for a subject of ours is the access of its
/// token. A subject of an identity provider has no such default, so the client's own defaults apply.
fn in_common(client: &Client, subject: &Subject) -> Vec<Grant> {
    let narrowed = client.grants.iter().map(|grant| {
        let audience = grant.audience.as_str();
        let may_have = |scopes: &BTreeSet<Scope>| -> BTreeSet<Scope> {
            scopes.iter().filter(|scope| subject.may_have(audience, scope)).cloned().collect()
        };
        let scopes = may_have(&grant.scopes);
        let default_scopes = match subject.is_ours() {
            true => scopes.iter().filter(|scope| subject.has_in_token(scope)).cloned().collect(),
            false => may_have(&grant.default_scopes),
        };
        Grant { audience: grant.audience.clone(), default_scopes, scopes }
    });
    narrowed.filter(|grant| !grant.scopes.is_empty()).collect()
}

/// Returns the error that names the party without the requested access: the client or the subject.
fn lacking(refusal: IssueError, client: &Client, subject: &Subject, asked: &RequestedAccess) -> IssueError {
    if asked.scopes.is_empty() && subject.is_ours() && matches!(refusal, IssueError::InvalidScope(_)) {
        return IssueError::InvalidScope(
            "No scope was requested, and the subject token has none that the client may have there. Name the scopes."
                .into(),
        );
    }
    match access::authorize(&client.grants, asked) {
        // The client would have got it for itself.
        Ok(access) => subject_lacks(client, subject, &access).unwrap_or(refusal),
        // Only the client's own defaults are missing: the subject lacks the audience.
        Err(IssueError::InvalidScope(_)) if matches!(refusal, IssueError::InvalidTarget(_)) => {
            let named = asked.audiences.iter().filter_map(|audience| client.grant(audience.as_given()));
            let lacked = named
                .filter(|grant| !grant.scopes.iter().any(|scope| subject.may_have(grant.audience.as_str(), scope)));
            lacked.map(|grant| no_audience(subject, &grant.audience)).next().unwrap_or(refusal)
        }
        Err(of_client) => of_client,
    }
}

fn subject_lacks(client: &Client, subject: &Subject, access: &Access) -> Option<IssueError> {
    let lacks = |audience: &Audience, scope: &Scope| !subject.may_have(audience.as_str(), scope);
    let shares_none = |audience: &Audience| {
        client.grant(audience.as_str()).is_none_or(|grant| grant.scopes.iter().all(|scope| lacks(audience, scope)))
    };
    let alone = access.audiences.iter().find(|audience| shares_none(audience));
    let pairs = access.audiences.iter().flat_map(|audience| iter::repeat(audience).zip(&access.scopes));
    let (audience, scope) = pairs.into_iter().find(|(audience, scope)| lacks(audience, scope))?;
    Some(match alone {
        Some(audience) if !subject.token_names(audience.as_str()) => no_audience(subject, audience),
        _ if subject.token_names(audience.as_str()) => IssueError::InvalidScope(
            format!("The subject token does not have the scope {scope}, which the audience {audience} needs.").into(),
        ),
        _ => IssueError::InvalidScope(
            format!("The subject may not have the scope {scope} at the audience {audience}.").into(),
        ),
    })
}

fn no_audience(subject: &Subject, audience: &Audience) -> IssueError {
    let who =
        if subject.token_names(audience.as_str()) { "The subject token has" } else { "The subject is registered for" };
    IssueError::InvalidTarget(format!("{who} none of the client's scopes at the audience {audience}.").into())
}

fn on_behalf(client: &Client, parties: Parties) -> Result<OnBehalf, IssueError> {
    let Parties { subject, actor, issuer } = parties;
    if actor.as_ref().is_some_and(|actor| actor.name() == subject.name()) {
        return Err(IssueError::invalid_grant("The actor token has the same subject as the subject token."));
    }
    let mut ancestors = subject.ancestors();
    for ancestor in actor.iter().flat_map(Subject::ancestors) {
        if !ancestors.contains(&ancestor) {
            ancestors.push(ancestor);
        }
    }
    if ancestors.len() > ANCESTORS_MAX {
        return Err(IssueError::invalid_grant("The tokens have been exchanged too often."));
    }
    let acting = acting(client, actor.as_ref());
    if !acting.is_empty() && subject.actors() + acting.len() > ACTORS_MAX {
        return Err(IssueError::invalid_grant("The subject token has been delegated too often."));
    }
    let client_acts = (!acting.is_empty()).then_some((&*issuer, client.id.as_str()));
    subject.check_may_act(client_acts, actor.as_ref())?;
    let ends = actor.as_ref().map(Subject::not_after);
    Ok(OnBehalf {
        subject: subject.name().to_owned(),
        act: acting.iter().rev().fold(subject.act(), |before, name| Some(nested(name, before))),
        claims: subject.claims(),
        not_after: ends.map_or(subject.not_after(), |ends| ends.min(subject.not_after())),
        subject_token_id: subject.token_id().map(str::to_owned),
        ancestors,
        foreign: subject.into_foreign(),
    })
}

/// Returns the actors of the new token, the client first. The actor token names the actor behind the client,
/// and never replaces the client.
fn acting(client: &Client, actor: Option<&Subject>) -> Vec<String> {
    let Some(actor) = actor else {
        return if client.may_impersonate { Vec::new() } else { vec![client.id.to_string()] };
    };
    let mut names = vec![client.id.to_string()];
    names.extend(actor.chain());
    names.push(actor.name().to_owned());
    names.dedup();
    names
}

/// Nests the actors. RFC 8693 section 4.1: the current actor outside, the earlier ones inside.
fn nested(acting: &str, before: Option<Value>) -> Value {
    let mut act = Map::from_iter([("sub".to_owned(), acting.into())]);
    act.extend(before.map(|before| ("act".to_owned(), before)));
    Value::Object(act)
}
