//! One structured event for each decision, under the target `audit`: the caller, the request and the outcome.
//!
//! Events never contain a secret or a token. A token is named by its `jti`. Text from a caller is cleaned and
//! truncated.

mod guarded;

use std::borrow::Cow;

use tracing::{Span, field::Empty};

use crate::{
    client::{Audience, Scope},
    client_authentication::{AuthenticatedClient, ProvenIdentity},
    error::IssueError,
    grant::{OnBehalf, token_exchange::Subject},
    mint::MintedToken,
    origin::Origin,
    trace,
};

pub use guarded::{Entry, Guarded};

/// The target that the events go to.
pub const TARGET: &str = "audit";

/// The most characters of a claimed client ID that are written.
const CLIENT_ID_CHARS_MAX: usize = 64;
/// The most characters of a workload's `sub` that are written. OpenID Connect Core section 2 allows 255.
const SUBJECT_CHARS_MAX: usize = 255;
/// The most characters of a claimed `jti` that are written. This issuer's have 22.
const TOKEN_ID_CHARS_MAX: usize = 64;

/// A pending decision, with the facts known so far.
pub(crate) struct Decision<'a> {
    origin: Cow<'a, Origin>,
    operation: &'static str,
    client_id: String,
    span: Span,
    quota: Option<&'static str>,
    /// The name of an initial access token.
    registered_with: Option<String>,
    /// The audience of the client's assertion, if it is not the issuer.
    assertion_audience: Option<&'static str>,
    /// The client's identity at another issuer, by which it was authenticated.
    proven: Option<Box<ProvenIdentity>>,
    /// The tokens of an exchange.
    brought: Option<Box<Brought>>,
    /// The valid token of the query, and the reason for which the caller does not learn of it.
    withheld: Option<(String, &'static str)>,
}

/// The role of a token in an exchange. RFC 8693 section 2.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Subject,
    Actor,
}

impl Role {
    /// The parameter that carries the token.
    pub(crate) const fn parameter(self) -> &'static str {
        match self {
            Self::Subject => "subject_token",
            Self::Actor => "actor_token",
        }
    }
}

/// The tokens of an exchange.
#[derive(Debug, Default)]
struct Brought {
    subject: Party,
    actor: Party,
}

/// The facts known about a token of an exchange.
#[derive(Debug, Default)]
struct Party {
    /// The token's `jti`, before and after verification.
    token_id: Option<String>,
    /// The subject's name and its identity provider, once the token is verified.
    name: Option<String>,
    issuer: Option<String>,
}

impl Decision<'static> {
    /// Opens a decision that passes from stage to stage.
    pub(crate) fn owned(origin: Origin, operation: &'static str) -> Self {
        Self::of(Cow::Owned(origin), operation)
    }
}

impl<'a> Decision<'a> {
    /// Opens the decision about a request.
    pub(crate) fn new(origin: &'a Origin, operation: &'static str) -> Self {
        Self::of(Cow::Borrowed(origin), operation)
    }

    fn of(origin: Cow<'a, Origin>, operation: &'static str) -> Self {
        let span = tracing::info_span!(
            target: trace::TARGET,
            "decision",
            otel.name = operation,
            operation = Empty,
            client_id = Empty,
            outcome = Empty,
            reason = Empty,
            jti = Empty,
        );
        Self {
            origin,
            operation,
            client_id: String::new(),
            span,
            quota: None,
            registered_with: None,
            assertion_audience: None,
            proven: None,
            brought: None,
            withheld: None,
        }
    }

    /// The span of the decision, if there is a trace.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    fn trace(&self, outcome: &'static str, reason: Option<&'static str>, token_id: Option<&str>) {
        if self.span.is_disabled() {
            return;
        }
        self.span.record("operation", self.operation).record("outcome", outcome);
        self.span.record("client_id", &*claimed(&self.client_id));
        self.span.record("reason", reason).record("jti", token_id);
    }

    /// Records the client ID that the caller claims.
    pub(crate) fn claimed_by(&mut self, client_id: &str) {
        client_id.clone_into(&mut self.client_id);
    }

    /// Records the client, its identity at another issuer, and its authentication method if an operator has
    /// allowed it as an exception.
    pub(crate) fn authenticated(&mut self, client: &AuthenticatedClient) {
        if let Some(proven) = client.proven() {
            // An assertion may prove a client that the request does not name.
            client.id().as_str().clone_into(&mut self.client_id);
            self.proven = Some(Box::new(ProvenIdentity {
                issuer: proven.issuer.clone(),
                subject: cleaned(&proven.subject, SUBJECT_CHARS_MAX).into_owned(),
                token_id: cleaned(&proven.token_id, TOKEN_ID_CHARS_MAX).into_owned(),
            }));
        }
        if client.is_by_endpoint_assertion() {
            self.assertion_audience = Some("token_endpoint");
            let client_id = client.id().as_str();
            tracing::warn!(
                client_id,
                "accepted an assertion whose audience is the token endpoint, as the client's registration allows"
            );
        }
    }

    /// Records the unverified `jti` of a token of an exchange; empty if it is missing.
    pub(crate) fn claimed_token(&mut self, role: Role, token_id: &str) {
        self.party_of(role).token_id =
            Some(cleaned(token_id, TOKEN_ID_CHARS_MAX).into_owned()).filter(|id| !id.is_empty());
    }

    /// Records the subject behind a verified token of an exchange.
    pub(crate) fn party(&mut self, role: Role, subject: &Subject) {
        let party = self.party_of(role);
        party.name = Some(subject.name().to_owned());
        party.issuer = subject.foreign().map(|id| id.issuer.clone());
    }

    /// Records a valid token that the caller may not learn of.
    pub(crate) fn withheld(&mut self, token_id: &str, why: &'static str) {
        self.withheld = Some((token_id.to_owned(), why));
    }

    fn party_of(&mut self, role: Role) -> &mut Party {
        let brought = self.brought.get_or_insert_default();
        match role {
            Role::Subject => &mut brought.subject,
            Role::Actor => &mut brought.actor,
        }
    }

    /// Records the name of the initial access token that was presented.
    pub(crate) fn registered_with(&mut self, name: &str) {
        self.registered_with = Some(name.to_owned());
    }

    /// Sets the operation once it is known.
    pub(crate) fn is(&mut self, operation: &'static str) {
        self.operation = operation;
    }

    /// Records that the request exceeds the client's quota, which is only observed.
    pub(crate) fn beyond_quota(&mut self) {
        self.quota = Some("exceeded");
    }

    /// Returns the origin of the request.
    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the operation that is being decided.
    pub(crate) fn operation(&self) -> &'static str {
        self.operation
    }

    /// Logs that a token was issued.
    pub(crate) fn issued(&self, token: &MintedToken) {
        self.trace("granted", None, Some(token.token_id()));
        let (on_behalf, proven) = (token.on_behalf(), self.proven.as_deref());
        tracing::info!(
            target: TARGET,
            operation = self.operation,
            outcome = "granted",
            client_id = &*claimed(&self.client_id),
            subject = on_behalf.map(OnBehalf::subject),
            subject_issuer = on_behalf.and_then(OnBehalf::foreign).map(|id| id.issuer.as_str()),
            subject_jti = on_behalf.and_then(OnBehalf::subject_token_id),
            act = on_behalf.and_then(OnBehalf::act).map(tracing::field::display),
            actor_jti = self.brought.as_ref().and_then(|brought| brought.actor.token_id.as_deref()),
            jti = token.token_id(),
            audience = &*joined(token.audiences(), Audience::as_str),
            scope = &*joined(token.scopes(), Scope::as_str),
            expires_in_seconds = token.expires_in().as_secs(),
            quota = self.quota,
            assertion_audience = self.assertion_audience,
            assertion_issuer = proven.map(|proven| proven.issuer.as_str()),
            assertion_subject = proven.map(|proven| proven.subject.as_str()),
            assertion_jti = proven.map(|proven| proven.token_id.as_str()).filter(|id| !id.is_empty()),
            peer = %self.origin.peer(),
            request_id = self.origin.request_id().as_str(),
        );
    }

    /// Logs an answered introspection, or a revocation. `token_id` is that of the token, if it is valid.
    pub(crate) fn answered(&self, outcome: &'static str, token_id: Option<&str>) {
        let (withheld, detail) = self.withheld.as_ref().map(|(id, why)| (id.as_str(), *why)).unzip();
        let (token_id, proven) = (token_id.or(withheld), self.proven.as_deref());
        self.trace(outcome, None, token_id);
        tracing::info!(
            target: TARGET,
            operation = self.operation,
            outcome,
            client_id = &*claimed(&self.client_id),
            assertion_audience = self.assertion_audience,
            assertion_issuer = proven.map(|proven| proven.issuer.as_str()),
            assertion_subject = proven.map(|proven| proven.subject.as_str()),
            assertion_jti = proven.map(|proven| proven.token_id.as_str()).filter(|id| !id.is_empty()),
            jti = token_id,
            detail,
            registered_with = self.registered_with.as_deref(),
            peer = %self.origin.peer(),
            request_id = self.origin.request_id().as_str(),
        );
    }

    /// Logs that the token of a registration is invalid, or may not do this.
    pub(crate) fn denied(&self, reason: &'static str) {
        self.trace("refused", Some(reason), None);
        tracing::warn!(
            target: TARGET,
            operation = self.operation,
            outcome = "refused",
            client_id = &*claimed(&self.client_id),
            reason,
            registered_with = self.registered_with.as_deref(),
            peer = %self.origin.peer(),
            request_id = self.origin.request_id().as_str(),
        );
    }

    /// Logs that the request was rejected. The server's own failures are errors. A caller's mistakes are
    /// warnings at most.
    pub(crate) fn refused(&self, error: &IssueError) {
        let (operation, client_id) = (self.operation, claimed(&self.client_id));
        let client_id = &*client_id;
        let (peer, request_id) = (self.origin.peer(), self.origin.request_id().as_str());
        let reason = error.reason().as_reason();
        let detail = error.detail();
        let (assertion_audience, proven) = (self.assertion_audience, self.proven.as_deref());
        self.trace("refused", Some(reason), None);
        let brought = self.brought.as_deref();
        let (subject, actor) = (brought.map(|brought| &brought.subject), brought.map(|brought| &brought.actor));
        macro_rules! event {
            ($level:ident, $outcome:literal) => {
                tracing::$level!(
                    target: TARGET,
                    operation,
                    outcome = $outcome,
                    client_id,
                    subject = subject.and_then(|party| party.name.as_deref()),
                    subject_issuer = subject.and_then(|party| party.issuer.as_deref()),
                    subject_jti = subject.and_then(|party| party.token_id.as_deref()),
                    actor = actor.and_then(|party| party.name.as_deref()),
                    actor_jti = actor.and_then(|party| party.token_id.as_deref()),
                    reason,
                    detail,
                    assertion_audience,
                    assertion_issuer = proven.map(|proven| proven.issuer.as_str()),
                    assertion_subject = proven.map(|proven| proven.subject.as_str()),
                    assertion_jti = proven.map(|proven| proven.token_id.as_str()).filter(|id| !id.is_empty()),
                    %peer,
                    request_id,
                )
            };
        }
        match error {
            IssueError::Unavailable(_) | IssueError::Internal(_) => event!(error, "failed"),
            IssueError::ClientAuthenticationFailed(_) | IssueError::RateLimited { .. } => event!(warn, "refused"),
            IssueError::InvalidRequest(_)
            | IssueError::ClientNotAuthorized(_)
            | IssueError::UnsupportedGrantType
            | IssueError::InvalidScope(_)
            | IssueError::InvalidTarget(_)
            | IssueError::InvalidGrant(_)
            | IssueError::TokenTooLarge { .. }
            | IssueError::BodyTooLarge { .. } => event!(info, "refused"),
        }
    }
}

/// Cleans and truncates a client ID from a caller, and hides a secret that was sent in its place.
fn claimed(client_id: &str) -> Cow<'_, str> {
    cleaned(client_id, CLIENT_ID_CHARS_MAX)
}

/// Cleans and truncates text from a caller, and hides it if it contains a secret.
fn cleaned(text: &str, chars_max: usize) -> Cow<'_, str> {
    if text.contains(crate::client::secret::PREFIX) {
        return "[redacted]".into();
    }
    if text.len() <= chars_max && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let clean = |c| if matches!(c, ' '..='~') { c } else { '?' };
    text.chars().take(chars_max).map(clean).collect()
}

/// Joins names with spaces. A single name is not copied.
fn joined<T>(items: &[T], name: fn(&T) -> &str) -> Cow<'_, str> {
    match items {
        [only] => name(only).into(),
        several => several.iter().map(name).collect::<Vec<_>>().join(" ").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claimed_client_id_cannot_forge_or_flood_the_log() {
        assert_eq!(claimed("orders"), "orders");
        assert_eq!(claimed("a\nb\u{1b}[31mé"), "a?b?[31m?");
        assert_eq!(claimed(&"x".repeat(1000)).len(), 64);
    }

    #[test]
    fn a_secret_sent_as_client_id_is_hidden() {
        assert_eq!(claimed("tks_abcdefghijklmnop"), "[redacted]");
    }
}
