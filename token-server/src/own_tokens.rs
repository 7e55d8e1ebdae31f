//! Tokens of this issuer, verified by this issuer: with the project's only verifier, the keys of this moment and
//! the revocations, and no network.

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

/// Verifies this issuer's tokens, whichever key signs at the moment.
#[derive(Debug)]
pub struct OwnTokens {
    issuer: Arc<str>,
    keys: KeyRing,
    revocations: Revocations,
    clock: Arc<dyn Clock>,
    current: ArcSwapOption<Current>,
}

/// The verifier for the keys of one moment.
#[derive(Debug)]
struct Current {
    keys: Arc<PublishedKeys>,
    verifier: Verifier,
}

impl OwnTokens {
    /// For tokens of `issuer`.
    #[must_use]
    pub fn new(issuer: Arc<str>, keys: KeyRing, revocations: Revocations, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, keys, revocations, clock, current: ArcSwapOption::empty() }
    }

    /// The verifier for the keys of this moment.
    ///
    /// # Errors
    ///
    /// When the published keys are not a key set: a bug of ours.
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

    /// What `token` says, where it is one of ours and good; `None` where it is anything else. Good for whatever
    /// audience: whoever asks here is not the one that the token would let in.
    ///
    /// # Errors
    ///
    /// As [`OwnTokens::verifier`].
    pub fn verify(&self, token: &str) -> Result<Option<VerifiedToken>, IssueError> {
        let verifier = self.verifier().map_err(IssueError::Internal)?;
        let Some(audience) = named_audience(token) else { return Ok(None) };
        let now = self.clock.now();
        let verified = verifier.verify(UnverifiedToken::new(token), &audience, now).ok();
        // Leeway is for the clock of another replica that issued it. Whoever wrote `exp` holds to it.
        Ok(verified.filter(|token| now < token.expires_at()))
    }
}

/// An audience that the token names, unverified: enough to ask the verifier about exactly that one.
fn named_audience(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        aud: Value,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let audience = serde_json::from_slice::<Claims>(&claims).ok()?.aud;
    audience.as_str().or_else(|| audience.get(0)?.as_str()).map(str::to_owned)
}
