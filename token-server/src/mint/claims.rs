//! The claims of an access token, written once, straight into the bytes that are signed.
//!
//! RFC 9068 section 2.2; RFC 8693 section 4 for `act` and `client_id`; RFC 9493 for `sub_id`; `nbf` is absent: a token is good from the moment
//! that it is issued, and a verifier with a slow clock would refuse it.

use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::grant::Authorization;

/// Claims that only the issuer sets, because somebody decides on them. Sorted.
const RESERVED: [&str; 21] = [
    "acr",
    "act",
    "amr",
    "at_hash",
    "aud",
    "auth_time",
    "authorization_details",
    "azp",
    "client_id",
    "cnf",
    "exp",
    "iat",
    "iss",
    "jti",
    "may_act",
    "nbf",
    "nonce",
    "scope",
    "sid",
    "sub",
    "sub_id",
];

/// Whether `claim` is one that a client's custom claims must not shadow.
#[must_use]
pub fn is_reserved(claim: &str) -> bool {
    RESERVED.binary_search(&claim).is_ok()
}

/// Everything that goes into one token.
pub(super) struct Claims<'a> {
    pub(super) issuer: &'a str,
    pub(super) authorization: &'a Authorization,
    pub(super) issued_at: u64,
    pub(super) lifetime_seconds: u64,
    pub(super) token_id: &'a str,
}

impl Claims<'_> {
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let client = self.authorization.client();
        let mut claims = serializer.serialize_map(None)?;
        claims.serialize_entry("iss", self.issuer)?;
        claims.serialize_entry("sub", self.authorization.subject())?;
        match self.authorization.audiences() {
            // RFC 7519 section 4.1.3: one audience may be a plain string.
            [only] => claims.serialize_entry("aud", only.as_str())?,
            several => claims.serialize_entry("aud", several)?,
        }
        claims.serialize_entry("exp", &self.issued_at.saturating_add(self.lifetime_seconds))?;
        claims.serialize_entry("iat", &self.issued_at)?;
        claims.serialize_entry("jti", self.token_id)?;
        claims.serialize_entry("client_id", client.id.as_str())?;
        claims.serialize_entry("scope", &Joined(self.authorization.scopes()))?;
        match self.authorization.on_behalf() {
            // Refused when the client is registered; checked here again, where it counts.
            None => {
                for (name, value) in client.claims.iter().filter(|(name, _)| !is_reserved(name)) {
                    claims.serialize_entry(name, value)?;
                }
            }
            Some(on_behalf) => {
                if let Some(id) = on_behalf.foreign() {
                    claims.serialize_entry("sub_id", &id.to_json())?;
                }
                if let Some(act) = on_behalf.act() {
                    claims.serialize_entry("act", act)?;
                }
                for (name, value) in on_behalf.claims().iter().filter(|(name, _)| !is_reserved(name)) {
                    claims.serialize_entry(name, value)?;
                }
            }
        }
        claims.end()
    }
}

/// Space-delimited, as RFC 6749 section 3.3 writes scopes; no copy is made.
struct Joined<'a>(&'a [crate::client::Scope]);

impl Serialize for Joined<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, scope) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_claims_are_sorted_for_the_search() {
        assert!(RESERVED.is_sorted());
        assert!(RESERVED.iter().all(|claim| is_reserved(claim)));
        assert!(!is_reserved("department"));
    }
}
