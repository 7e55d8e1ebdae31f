//! A token before and after verification: two types, so that one cannot pass for the other.

mod ancestor;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use ancestor::{ANCESTORS_CLAIM, Ancestor};

/// A token, or the credential of another [scheme](crate::scheme), that a caller presented. Nothing in it is
/// trusted.
#[derive(Clone, Copy)]
pub struct UnverifiedToken<'a>(&'a str);

impl<'a> UnverifiedToken<'a> {
    /// Wraps the presented text unchanged.
    #[must_use]
    pub const fn new(token: &'a str) -> Self {
        Self(token)
    }

    /// Returns the token itself. It is a secret.
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

/// A verified token: signature, issuer, audience, times and revocation were checked. RFC 9068 section 2.2.
///
/// Only [`Verifier::verify`](crate::verify::Verifier::verify) makes one from a token. A caller of another
/// [scheme](crate::scheme) has one too: it states the rights of the credential. Clones share the claims.
#[derive(Clone)]
pub struct VerifiedToken(Arc<Claims>);

/// Claims of checked types, read by the profile of their issuer. `sub`, an audience and `exp` are present.
pub(crate) struct Claims {
    pub(crate) issuer: Arc<str>,
    pub(crate) expires_at: u64,
    pub(crate) issued_at: u64,
    pub(crate) not_before: Option<u64>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) at_hand: AtHand,
    /// True if no other issuer has clients of the same ID, so that `client_id` alone identifies the caller.
    pub(crate) client_id_is_unique: bool,
    pub(crate) members: Map<String, Value>,
}

/// The members that every call reads, looked up once. A lookup for each call would double the cost of a
/// cached token.
pub(crate) struct AtHand {
    /// Empty if the profile lets it be missing.
    pub(crate) client_id: Box<str>,
    /// Empty if the profile lets it be missing.
    pub(crate) token_id: Box<str>,
    /// Names separated by one space.
    pub(crate) scope: Box<str>,
    pub(crate) audiences: Box<[Box<str>]>,
}

/// One hop of a delegation: a party that acts for the subject. RFC 8693 section 4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    subject: String,
    client_id: Option<String>,
    issuer: Option<String>,
}

impl VerifiedToken {
    /// Called by `verify` and `scheme` alone.
    pub(crate) fn new(claims: Claims) -> Self {
        Self(Arc::new(claims))
    }

    pub(crate) fn checked(&self) -> &Claims {
        &self.0
    }

    /// Returns the issuer identifier, exactly as configured: `iss`, or the trust domain of a JWT-SVID.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns `sub`: the subject; for client credentials the client itself.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.0.members.get("sub").and_then(Value::as_str).unwrap_or_default()
    }

    /// Returns the client that the token was issued to: `client_id`, or the claim that the
    /// [`TokenProfile`](crate::verify::TokenProfile) of its issuer names. It is empty only where
    /// [`TokenProfile::identity`](crate::verify::TokenProfile::identity) allows it to be missing.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.0.at_hand.client_id
    }

    /// Returns the token's ID, fit for logs: `jti`, or the claim that the profile names. It is empty where
    /// the profile lets it be missing.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.0.at_hand.token_id
    }

    /// Returns the audiences that the token was issued for, as its issuer names them; one at least.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.0.audiences()
    }

    /// Returns the granted scopes that [`TrustedIssuer::scopes`](crate::verify::TrustedIssuer::scopes) lets
    /// the issuer grant. They are in `scope`, or where the profile says.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.0.at_hand.scope.split(' ').filter(|scope| !scope.is_empty())
    }

    /// Returns true if `scope` was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes().any(|granted| granted == scope)
    }

    /// Returns `iat`. Where a token of another maker has none, the year 1970: the oldest token that there is.
    #[must_use]
    pub fn issued_at(&self) -> SystemTime {
        time(self.0.issued_at)
    }

    /// Returns `exp`.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        time(self.0.expires_at)
    }

    /// Returns `act`: the parties that act for the subject, the current actor first; empty without
    /// delegation. Only the first may decide about access; the others are history (RFC 8693 section 4.1).
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.0.actors
    }

    /// Returns the tokens that this one was derived from, if its issuer lists them. Revoking one of them
    /// revokes this one too.
    pub fn ancestors(&self) -> impl Iterator<Item = Ancestor<'_>> {
        ancestor::of(&self.0.members)
    }

    /// Returns every claim, as in the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.0.members
    }

    /// Returns the claims as a type of the caller's own.
    ///
    /// # Errors
    ///
    /// Returns an error if the claims do not fit the type.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(&self.0.members)
    }
}

/// The overhead of an allocation, in bytes.
const ALLOCATION_BYTES: usize = 16;
/// The bytes of a map's node: eleven members, the links, and half of a parent's node.
const NODE_BYTES: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 128;
/// The minimum of members in a node, once a map has several.
const NODE_MEMBERS_MIN: usize = 5;

/// Returns the most memory that a map takes beside its own value.
fn map_bytes(members: &Map<String, Value>) -> usize {
    let nodes = if members.is_empty() { 0 } else { 1 + members.len() / NODE_MEMBERS_MIN };
    let held = members.iter().map(|(name, value)| name.capacity() + ALLOCATION_BYTES + value_bytes(value));
    nodes * NODE_BYTES + held.sum::<usize>()
}

/// The recursion is bounded by the depth of the JSON.
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
    /// Removes the scopes that the issuer may not grant.
    pub(crate) fn retain_scopes(&mut self, may_grant: impl Fn(&str) -> bool) {
        let granted: Vec<&str> = self.at_hand.scope.split(' ').filter(|scope| may_grant(scope)).collect();
        self.at_hand.scope = granted.join(" ").into();
    }

    pub(crate) fn client_id(&self) -> &str {
        &self.at_hand.client_id
    }

    /// Returns the memory of the claims, in bytes.
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

impl Actor {
    pub(crate) fn new(subject: String, client_id: Option<String>, issuer: Option<String>) -> Self {
        Self { subject, client_id, issuer }
    }

    /// Returns `sub`.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns `client_id`, if the issuer states it.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns `iss`, if the actor comes from another issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }
}

/// `seconds` are at most those of the year 9999: `verify` rejects later times.
fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Prints names only, as claims may be personal.
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
