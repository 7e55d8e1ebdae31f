//! Writes the claims of an access token directly into the bytes that are signed.
//!
//! RFC 9068 section 2.2; RFC 8693 section 4 for `act` and `client_id`; RFC 9493 for `sub_id`. `nbf` is
//! absent: a token is valid from its time of issue, and a verifier with a slow clock would reject it.

use std::fmt::Write as _;

use serde::Serialize;
use token_interceptor::token::ANCESTORS_CLAIM;

use crate::{client::Scope, grant::GrantedAccess, json_text, reserved_claims::is_reserved};

/// All inputs of one token.
pub(super) struct Claims<'a> {
    pub(super) issuer: &'a str,
    pub(super) authorization: &'a GrantedAccess,
    pub(super) issued_at: u64,
    pub(super) lifetime_seconds: u64,
    pub(super) token_id: &'a str,
}

impl Claims<'_> {
    /// Writes the claims as JSON.
    ///
    /// # Errors
    ///
    /// When a custom claim cannot be serialized.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        let client = self.authorization.client();
        let mut members = Members::begin();
        members.text("iss", self.issuer);
        members.text("sub", self.authorization.subject());
        match self.authorization.audiences() {
            // RFC 7519 section 4.1.3: one audience may be a plain string.
            [only] => members.text("aud", only.as_str()),
            several => members.value("aud", &several)?,
        }
        members.number("exp", self.issued_at.saturating_add(self.lifetime_seconds));
        members.number("iat", self.issued_at);
        members.text("jti", self.token_id);
        members.text("client_id", client.id.as_str());
        members.scopes("scope", self.authorization.scopes());
        // Rejected at registration. Checked again here, because here it matters.
        match self.authorization.on_behalf() {
            None => {
                for (name, value) in client.claims.iter().filter(|(name, _)| !is_reserved(name)) {
                    members.text(name, value);
                }
            }
            Some(on_behalf) => {
                if let Some(id) = on_behalf.foreign() {
                    members.value("sub_id", &id.to_json())?;
                }
                if let Some(act) = on_behalf.act() {
                    members.value("act", act)?;
                }
                if !on_behalf.ancestors().is_empty() {
                    members.value(ANCESTORS_CLAIM, &on_behalf.ancestors())?;
                }
                for (name, value) in on_behalf.claims().iter().filter(|(name, _)| !is_reserved(name)) {
                    members.value(name, value)?;
                }
            }
        }
        Ok(members.end())
    }
}

/// A JSON object under construction.
struct Members(String);

impl Members {
    fn begin() -> Self {
        Self(String::with_capacity(512))
    }

    fn name(&mut self, name: &str) {
        self.0.push_str(if self.0.is_empty() { "{" } else { "," });
        json_text::push_string(&mut self.0, name);
        self.0.push(':');
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        json_text::push_string(&mut self.0, text);
    }

    fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{number}");
    }

    /// Writes scopes separated by spaces (RFC 6749 section 3.3).
    fn scopes(&mut self, name: &str, scopes: &[Scope]) {
        self.name(name);
        self.0.push('"');
        for (n, scope) in scopes.iter().enumerate() {
            if n > 0 {
                self.0.push(' ');
            }
            json_text::push_escaped(&mut self.0, scope.as_str());
        }
        self.0.push('"');
    }

    /// Writes a value that is not a string.
    fn value(&mut self, name: &str, value: &impl Serialize) -> serde_json::Result<()> {
        self.name(name);
        self.0.push_str(&serde_json::to_string(value)?);
        Ok(())
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
