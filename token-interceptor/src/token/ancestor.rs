//! The tokens that a token was derived from by token exchange (RFC 8693). Revoking one of them revokes the
//! derived token too.

use serde_json::{Map, Value};

/// The claim that lists a token's ancestors, nearest first: an array of `[jti, client_id, iat]`. It is a
/// private claim name (RFC 7519 section 4.3) of this project's issuer.
pub const ANCESTORS_CLAIM: &str = "m2m_ancestors";

/// A token that another token was derived from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ancestor<'a> {
    /// Its `jti`.
    pub token_id: &'a str,
    /// Its `client_id`.
    pub client_id: &'a str,
    /// Its `iat`, in seconds since 1970.
    pub issued_at: u64,
}

impl Ancestor<'_> {
    /// The entry of the claim.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Array(vec![self.token_id.into(), self.client_id.into(), self.issued_at.into()])
    }
}

/// The ancestors that the claims name. An entry of another shape belongs to another project, and is skipped.
pub(super) fn of(members: &Map<String, Value>) -> impl Iterator<Item = Ancestor<'_>> {
    members.get(ANCESTORS_CLAIM).and_then(Value::as_array).into_iter().flatten().filter_map(|entry| {
        let [token_id, client_id, issued_at] = entry.as_array()?.as_slice() else { return None };
        Some(Ancestor { token_id: token_id.as_str()?, client_id: client_id.as_str()?, issued_at: issued_at.as_u64()? })
    })
}
