//! The checks of an opaque token, on the members that its issuer's introspection endpoint states: RFC 7662
//! section 2.2.
//!
//! They are those of a JWT without its signature: issuer, claims, limits, audience, times, lifetime,
//! revocation.

use std::time::SystemTime;

use serde_json::{Map, Value};

use super::Verifier;
use crate::{
    error::{Unverified, VerifyError, kind_of, quoted},
    token::VerifiedToken,
};

impl Verifier {
    /// Returns true if the issuer with this identifier is trusted at this moment.
    pub(crate) fn trusts(&self, issuer: &str) -> bool {
        self.0.issuers.now().named(issuer).is_some()
    }

    /// Returns the length of the longest token of this issuer, in bytes; 0 if it is not trusted.
    pub(crate) fn token_bytes_max_of(&self, issuer: &str) -> usize {
        self.0.issuers.now().named(issuer).map_or(0, |issuer| issuer.token_bytes_max)
    }

    /// Checks the members of an active token, which the endpoint of `issuer` stated.
    pub(crate) fn check_introspected(
        &self,
        issuer: &str,
        mut members: Map<String, Value>,
        audience: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, VerifyError> {
        let issuers = self.0.issuers.now();
        let unknown = |came: String| Unverified::IssuerUnknown.about("iss", came, quoted(issuer));
        let issuer = issuers.named(issuer).ok_or_else(|| unknown("an issuer that is no longer trusted".to_owned()))?;
        // The member is optional. The endpoint of one issuer speaks for no other.
        match members.get("iss") {
            None => {}
            Some(Value::String(came)) if **came == *issuer.id => {}
            Some(Value::String(came)) => return Err(unknown(quoted(came))),
            other => return Err(unknown(kind_of(other))),
        }
        // RFC 6749 section 5.1: case-insensitive. A token of another type needs a proof of possession.
        match members.get("token_type") {
            None => {}
            Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => {}
            other => return Err(Unverified::SenderConstrained.about("token_type", kind_of(other), "Bearer")),
        }
        // Optional too: without a user the subject is the client.
        if !members.contains_key("sub")
            && let Some(client) = members.get("client_id").cloned()
        {
            members.insert("sub".to_owned(), client);
        }
        self.check_claims((&issuers, issuer), members, audience, now)
    }
}
