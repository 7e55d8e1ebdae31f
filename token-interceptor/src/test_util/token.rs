//! Test tokens: valid ones, and any mutation of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::signature::SigningKey;

/// A token in the making. Each method changes one thing, and [`TokenBuilder::sign`] signs the result. So the
/// signature is valid unless the test spoils it.
#[derive(Clone, Debug)]
pub struct TokenBuilder {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    raw_header: Option<Vec<u8>>,
    raw_claims: Option<Vec<u8>>,
    key: Arc<SigningKey>,
    now: u64,
}

/// Counts the tokens, so that each has a `jti` of its own.
static TOKENS: AtomicU64 = AtomicU64::new(1);

impl TokenBuilder {
    pub(super) fn new(issuer: &str, key: Arc<SigningKey>, now: u64) -> Self {
        let header = json!({ "typ": "at+jwt", "alg": key.algorithm().name(), "kid": key.public_jwk().key_id() });
        let claims = json!({
            "iss": issuer,
            "sub": "orders",
            "client_id": "orders",
            "aud": "inventory",
            "iat": now,
            "exp": now + 300,
            "jti": format!("token-{}", TOKENS.fetch_add(1, Ordering::Relaxed)),
        });
        Self { header: members(header), claims: members(claims), raw_header: None, raw_claims: None, key, now }
    }

    /// Sets `aud`.
    #[must_use]
    pub fn audience(self, audience: &str) -> Self {
        self.claim("aud", audience)
    }

    /// Sets `scope`, names separated by spaces.
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        self.claim("scope", scope)
    }

    /// Sets `client_id` and `sub`.
    #[must_use]
    pub fn client(self, client_id: &str) -> Self {
        self.claim("client_id", client_id).claim("sub", client_id)
    }

    /// Sets `exp`, relative to now.
    #[must_use]
    pub fn expires_in(self, lifetime: Duration) -> Self {
        let expires_at = self.now + lifetime.as_secs();
        self.claim("exp", expires_at)
    }

    /// Sets any claim to any value.
    #[must_use]
    pub fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a claim.
    #[must_use]
    pub fn without_claim(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets any header parameter to any value.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header.insert(name.to_owned(), value.into());
        self
    }

    /// Removes a header parameter.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.header.remove(name);
        self
    }

    /// Replaces the header by these bytes.
    #[must_use]
    pub fn raw_header(mut self, header: impl Into<Vec<u8>>) -> Self {
        self.raw_header = Some(header.into());
        self
    }

    /// Replaces the claims by these bytes.
    #[must_use]
    pub fn raw_claims(mut self, claims: impl Into<Vec<u8>>) -> Self {
        self.raw_claims = Some(claims.into());
        self
    }

    /// Returns the header as JSON text.
    #[must_use]
    pub fn header_json(&self) -> String {
        Value::Object(self.header.clone()).to_string()
    }

    /// Returns the claims as JSON text.
    #[must_use]
    pub fn claims_json(&self) -> String {
        Value::Object(self.claims.clone()).to_string()
    }

    /// Returns the first two parts, as they are signed.
    #[must_use]
    pub fn unsigned(&self) -> String {
        let header = self.raw_header.clone().unwrap_or_else(|| self.header_json().into_bytes());
        let claims = self.raw_claims.clone().unwrap_or_else(|| self.claims_json().into_bytes());
        format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
    }

    /// Returns the token, signed by the issuer's key.
    #[must_use]
    pub fn sign(&self) -> String {
        self.sign_with(&self.key)
    }

    /// Returns the token, signed by another key. Its header still names the issuer's key.
    #[must_use]
    pub fn sign_with(&self, key: &SigningKey) -> String {
        let unsigned = self.unsigned();
        let signature = key.sign_bytes(unsigned.as_bytes()).expect("the system has randomness");
        format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn members(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
