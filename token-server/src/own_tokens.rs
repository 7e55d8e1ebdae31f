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

/// Verifies this issuer's tokens, with the current keys.
#[derive(Debug)]
pub struct OwnTokens {
    issuer: Arc<str>,
    keys: KeyRing,
    revocations: Revocations,
    clock: Arc<dyn Clock>,
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
        Self { issuer, keys, revocations, clock, current: ArcSwapOption::empty() }
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
        let verifier = Verifier::builder().issuer(issuer).clock(Arc::clone(&self.clock)).build()?;
        self.current.store(Some(Arc::new(Current { keys, verifier: verifier.clone() })));
        Ok(verifier)
    }

    /// Returns the claims of `token` if it is a valid token of this issuer, else `None`. Accepts any
    /// audience: the party that asks here is not the resource server that the token gives access to.
    ///
    /// # Errors
    ///
    /// As [`OwnTokens::verifier`].
    pub fn verify(&self, token: &str) -> Result<Option<VerifiedToken>, IssueError> {
        let verifier = self.verifier().map_err(IssueError::Internal)?;
        let Some(audience) = named_audience(token) else { return Ok(None) };
        let now = self.clock.now();
        let verified = verifier.verify(UnverifiedToken::new(token), &audience, now).ok();
        // The leeway covers clock skew to the issuing replica. `exp` was set by this issuer, so it gets no
        // leeway.
        Ok(verified.filter(|token| now < token.expires_at()))
    }
}

/// Returns an audience that the token names, unverified. The verifier is then asked about exactly that
/// audience.
fn named_audience(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        aud: Value,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let audience = serde_json::from_slice::<Claims>(&claims).ok()?.aud;
    audience.as_str().or_else(|| audience.get(0)?.as_str()).map(str::to_owned)
}
