//! Verifies this issuer's own tokens, with the project's only verifier, the current keys and the revocations.
//! Uses no network.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::Value;
use token_interceptor::{
    clock::Clock,
    revocation::Revocations,
    token::{UnverifiedToken, VerifiedToken},
    verify::{BuildError, TrustedIssuer, Verifier},
};

use crate::{error::IssueError, key::KeyRing};

/// The longest token, in bytes, that an operator may configure. Tokens up to it are verified, also those that
/// were issued before the configured length was lowered.
pub const TOKEN_BYTES_MAX: usize = 65_536;

/// Creates the verifier of this issuer's own tokens. It follows the key ring and the revocations.
///
/// # Errors
///
/// When `issuer` is empty.
pub fn verifier(
    issuer: &str,
    keys: &KeyRing,
    revocations: &Revocations,
    clock: Arc<dyn Clock>,
) -> Result<Verifier, BuildError> {
    let issuer = TrustedIssuer::live(issuer, keys.verifying().clone())?.revocations(revocations.clone());
    Verifier::builder().issuer(issuer).token_bytes_max(TOKEN_BYTES_MAX).clock(clock).build()
}

/// Verifies this issuer's tokens for the issuer itself, with any audience.
#[derive(Debug)]
pub struct OwnTokens {
    verifier: Verifier,
    /// The length of the longest token that is issued, in bytes.
    issued_bytes_max: usize,
}

impl OwnTokens {
    /// Creates it from [`verifier`]. `issued_bytes_max` is the length of the longest token that is issued, in
    /// bytes.
    #[must_use]
    pub fn new(verifier: Verifier, issued_bytes_max: usize) -> Self {
        Self { verifier, issued_bytes_max }
    }

    /// Returns the claims of `token` if it is a valid token of this issuer, else `None`. Accepts any
    /// audience: the party that asks here is not the resource server that the token gives access to.
    ///
    /// # Errors
    ///
    /// `invalid_request` for a text that is longer than any token that is issued: nothing is known about it.
    pub fn verify(&self, token: &str) -> Result<Option<VerifiedToken>, IssueError> {
        let now = self.verifier.now();
        let verified = named_audience(token)
            .and_then(|audience| self.verifier.verify(UnverifiedToken::new(token), &audience, now).ok())
            // The leeway covers clock skew to the issuing replica. `exp` was set by this issuer, so it gets
            // no leeway.
            .filter(|token| now < token.expires_at());
        // "Inactive" or "revoked" would be wrong for a token that was issued under another configuration.
        if verified.is_none() && token.len() > self.issued_bytes_max {
            return Err(IssueError::invalid_request("The token is longer than any token of this issuer."));
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
