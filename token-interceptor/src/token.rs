//! A token before and after verification: two types, so that the first is never taken for the second.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A token that somebody presented. Nothing in it is believed.
#[derive(Clone, Copy)]
pub struct UnverifiedToken<'a>(&'a str);

impl<'a> UnverifiedToken<'a> {
    /// Wraps what was presented, as it is.
    #[must_use]
    pub const fn new(token: &'a str) -> Self {
        Self(token)
    }

    /// The token itself: whoever holds it can use it.
    #[must_use]
    pub const fn expose(self) -> &'a str {
        self.0
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnverifiedToken({} bytes)", self.0.len())
    }
}

/// What a token says, once signature, issuer, audience, times and revocation are checked: RFC 9068 section 2.2.
///
/// Only [`Verifier::verify`](crate::verify::Verifier::verify) makes one. Clones share the claims.
#[derive(Clone)]
pub struct VerifiedToken(Arc<Claims>);

/// Claims whose types are checked: `iss sub client_id aud exp iat jti` are there (of an identity token `iss sub aud
/// exp iat`), `scope` and `act` are of their type where they are there.
pub(crate) struct Claims {
    pub(crate) issuer: Arc<str>,
    pub(crate) expires_at: u64,
    pub(crate) issued_at: u64,
    pub(crate) not_before: Option<u64>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) at_hand: AtHand,
    /// No other issuer has clients of the same ID, so that `client_id` alone says who calls.
    pub(crate) client_id_is_unique: bool,
    pub(crate) members: Map<String, Value>,
}

/// What every call reads, found once: to look into the members for each costs as much as everything else that a token
/// seen before does.
pub(crate) struct AtHand {
    client_id: Box<str>,
    token_id: Box<str>,
    scope: Box<str>,
    audiences: Box<[Box<str>]>,
}

/// One hop of a delegation: who acts for the subject. RFC 8693 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    subject: String,
    client_id: Option<String>,
    issuer: Option<String>,
}

impl VerifiedToken {
    /// For `verify` alone.
    pub(crate) fn new(claims: Claims) -> Self {
        Self(Arc::new(claims))
    }

    pub(crate) fn checked(&self) -> &Claims {
        &self.0
    }

    /// `iss`: the issuer identifier, exactly as configured.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// `sub`: for whom the token stands; for client credentials the client itself.
    #[must_use]
    pub fn subject(&self) -> &str {
        text(&self.0.members, "sub")
    }

    /// `client_id`: the client that the token was issued to. Empty only where
    /// [`TrustedIssuer::identity_tokens`](crate::verify::TrustedIssuer::identity_tokens) lets it be missing.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.at_hand.client_id
    }

    /// `jti`: the token's own name, good for logs. As [`VerifiedToken::client_id`] where it is missing.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.0.at_hand.token_id
    }

    /// `aud`: for whom the token was issued; one at the least.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.0.audiences()
    }

    /// `scope`: what was granted, as far as [`TrustedIssuer::scopes`](crate::verify::TrustedIssuer::scopes) lets the
    /// issuer grant it.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.at_hand.scope.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Whether `scope` was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|granted| granted == scope)
    }

    /// `iat`.
    #[must_use]
    pub fn issued_at(&self) -> SystemTime {
        time(self.0.issued_at)
    }

    /// `exp`.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        time(self.0.expires_at)
    }

    /// `act`: who acts for the subject, the current actor first. Empty without delegation. Only the first
    /// may decide about access; the others are history (RFC 8693 section 4.1).
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.0.actors
    }

    /// Every claim, as it stands in the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.members
    }

    /// The claims as a type of the caller's own.
    ///
    /// # Errors
    ///
    /// When the claims do not fit the type.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0.members)
    }
}

/// What an allocation takes beside its content.
const ALLOCATION_BYTES: usize = 16;
/// A node of a map: eleven members, the links, and half of a parent's node.
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 128;
/// Members in a node at the least, once a map has several.
const NODE_MEMBERS_MIN: usize = 5;

/// The memory that a map takes beside its own value, at the most.
fn map_bytes(members: &Map<String, Value>) -> usize {
    let nodes = if members.is_empty() { 0 } else { 1 + members.len() / NODE_MEMBERS_MIN };
    let held = members.iter().map(|(name, value)| name.capacity() + ALLOCATION_BYTES + value_bytes(value));
    nodes * NODE_BYTES + held.sum::<usize>()
}

/// The depth is bounded by that of the JSON.
fn value_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity() + ALLOCATION_BYTES,
        Value::Array(items) => {
            let own = items.capacity() * size_of::<Value>() + ALLOCATION_BYTES;
            own + items.iter().map(value_bytes).sum::<usize>()
        }
        Value::Object(members) => map_bytes(members),
    }
}

impl Claims {
    /// Takes away the scopes that the issuer may not grant.
    pub(crate) fn retain_scopes(&mut self, may_grant: impl Fn(&str) -> bool) {
        let granted: Vec<&str> = self.at_hand.scope.split(' ').filter(|scope| may_grant(scope)).collect();
        self.at_hand.scope = granted.join(" ").into();
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.at_hand.client_id
    }

    /// The memory that the claims take.
    pub(crate) fn bytes(&self) -> usize {
        let text = |text: &str| text.len() + ALLOCATION_BYTES;
        let AtHand { client_id, token_id, scope, audiences } = &self.at_hand;
        let at_hand = text(client_id) + text(token_id) + text(scope);
        let audiences: usize = audiences.iter().map(|audience| text(audience) + size_of::<Box<str>>()).sum();
        let optional = |value: Option<&str>| value.map_or(0, text);
        let actors = self.actors.iter().map(|actor| {
            size_of::<Actor>() + text(actor.subject()) + optional(actor.client_id()) + optional(actor.issuer())
        });
        size_of::<Self>() + at_hand + audiences + actors.sum::<usize>() + map_bytes(&self.members)
    }

    pub(crate) fn audiences(&self) -> impl Iterator<Item = &str> {
        self.at_hand.audiences.iter().map(|audience| &**audience)
    }
}

impl AtHand {
    /// Of claims whose types are checked.
    pub(crate) fn of(members: &Map<String, Value>) -> Self {
        let audience = members.get("aud");
        // RFC 7519 section 4.1.3: one string, or several.
        let several = audience.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        Self {
            client_id: text(members, "client_id").into(),
            token_id: text(members, "jti").into(),
            scope: scope(members.get("scope")),
            audiences: audience.and_then(Value::as_str).into_iter().chain(several).map(Into::into).collect(),
        }
    }
}

/// RFC 6749 section 3.3: text. Other makers write a list, or something else that grants nothing.
fn scope(claim: Option<&Value>) -> Box<str> {
    match claim {
        Some(Value::String(scope)) => scope.as_str().into(),
        Some(Value::Array(scopes)) => scopes.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ").into(),
        _ => "".into(),
    }
}

/// A text claim; empty where it is absent, which only optional ones may be.
fn text<'c>(members: &'c Map<String, Value>, name: &str) -> &'c str {
    members.get(name).and_then(Value::as_str).unwrap_or_default()
}

impl Actor {
    pub(crate) fn new(subject: String, client_id: Option<String>, issuer: Option<String>) -> Self {
        Self { subject, client_id, issuer }
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// `client_id`, where the issuer says.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// `iss`, where the actor comes from another issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }
}

/// `seconds` are at most those of the year 9999: `verify` refuses later times.
fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Names, not claims: those may be personal.
impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("issuer", &self.issuer())
            .field("client_id", &self.client_id())
            .field("token_id", &self.token_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::UnverifiedToken;

    #[test]
    fn debug_of_a_presented_token_is_censored() {
        assert_eq!(format!("{:?}", UnverifiedToken::new("header.claims.signature")), "UnverifiedToken(23 bytes)");
    }
}
