//! Verifies this issuer's own tokens, with the project's only verifier, the current keys and the revocations.
//! Uses no network.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use token_interceptor::{
    clock::Clock,
    key_set::KeySet,
    revocation::Revocations,
    token::{UnverifiedToken, VerifiedToken},
    verify::{TrustedIssuer, Verifier},
};

use crate::{
    error::{Cause, IssueError},
    key::{KeyRing, PublishedKeys},
};

/// The longest token, in bytes, that an operator may configure. Tokens up to it are verified, also those that were
/// issued before the configured length was lowered.
pub const TOKEN_BYTES_MAX: usize = 65_536;

/// Verifies this issuer's tokens, with the current keys.
#[derive(Debug)]
pub struct OwnTokens {
    issuer: Arc<str>,
    keys: KeyRing,
    revocations: Revocations,
    clock: Arc<dyn Clock>,
    /// The longest token that is issued, in bytes.
    issued_bytes_max: usize,
    current: ArcSwapOption<Current>,
}

/// The verifier, and the keys that it was built for.
#[derive(Debug)]
struct Current {
    keys: Arc<PublishedKeys>,
    verifier: Verifier,
}

impl OwnTokens {
    /// Creates a verifier for the tokens of `issuer`.
    #[must_use]
    pub fn new(issuer: Arc<str>, keys: KeyRing, revocations: Revocations, clock: Arc<dyn Clock>) -> Self {
        let issued_bytes_max = TOKEN_BYTES_MAX;
        Self { issuer, keys, revocations, clock, issued_bytes_max, current: ArcSwapOption::empty() }
    }

    /// Sets the length of the longest token that is issued, in bytes.
    #[must_use]
    pub fn issued_bytes_max(mut self, bytes: usize) -> Self {
        self.issued_bytes_max = bytes;
        self
    }

    /// Returns the verifier for the current keys.
    ///
    /// # Errors
    ///
    /// When the published keys are not a valid key set, which is a bug.
    pub fn verifier(&self) -> Result<Verifier, Cause> {
        let keys = self.keys.published();
        if let Some(current) = &*self.current.load()
            && Arc::ptr_eq(&current.keys, &keys)
        {
            return Ok(current.verifier.clone());
        }
        let issuer = TrustedIssuer::fixed(&self.issuer, KeySet::from_jwks(&keys.jwks_json)?)?;
        let issuer = issuer.revocations(self.revocations.clone());
        let verifier = Verifier::builder()
            .issuer(issuer)
            .token_bytes_max(TOKEN_BYTES_MAX)
            .clock(Arc::clone(&self.clock))
            .build()?;
        self.current.store(Some(Arc::new(Current { keys, verifier: verifier.clone() })));
        Ok(verifier)
    }

    /// Returns the claims of `token` if it is a valid token of this issuer, else `None`. Accepts any
    /// audience: the party that asks here is not the resource server that the token gives access to.
    ///
    /// # Errors
    ///
    /// As [`OwnTokens::verifier`], and `invalid_request` for a text that is longer than any token that is issued:
    /// nothing is known about it.
    pub fn verify(&self, token: &str) -> Result<Option<VerifiedToken>, IssueError> {
        let verifier = self.verifier().map_err(IssueError::Internal)?;
        let now = self.clock.now();
        let verified = named_audience(token)
            .and_then(|audience| verifier.verify(UnverifiedToken::new(token), &audience, now).ok())
            // The leeway covers clock skew to the issuing replica. `exp` was set by this issuer, so it gets no leeway.
            .filter(|token| now < token.expires_at());
        // "Inactive" or "revoked" would be a lie about a token that was issued under another configuration.
        if verified.is_none() && token.len() > self.issued_bytes_max {
            return Err(IssueError::invalid_request("The token is longer than any that this issuer issues."));
        }
        Ok(verified)
    }
}

/// Returns an audience that the token names, unverified. The verifier is then asked about exactly that
/// audience.
fn named_audience(token: &str) -> Option<String> {
    if token.len() > TOKEN_BYTES_MAX {
        return None;
    }
    #[derive(Deserialize)]
    struct Claims {
        aud: Value,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let audience = serde_json::from_slice::<Claims>(&claims).ok()?.aud;
    audience.as_str().or_else(|| audience.get(0)?.as_str()).map(str::to_owned)
}
