//! Tokens that were verified before: the signature is checked once, everything that may change on every call.
//!
//! Found by all of their bytes: the hash is keyed and taken over the end of the signature alone, which nobody
//! without the issuer's key can choose, and a hit compares the whole token. A hit is good only while the
//! issuer's keys are those that it was verified with; times, audience and revocations are checked each time.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use crate::{
    error::VerifyError,
    token::{UnverifiedToken, VerifiedToken},
    verify::{Grounds, Obstacle, Verifier},
};

/// The hash is over this much of the signature: 256 bits.
const HASHED_BYTES: usize = 43;
/// What an entry takes beside the token, its decoded claims included, measured in bytes per byte of token.
const WEIGHT_FACTOR: u64 = 4;
const WEIGHT_BASE: u64 = 512;
/// Tokens of client credentials are about this long; only the cache's first allocation follows it.
const TOKEN_BYTES_TYPICAL: u64 = 700;

/// A verifier that remembers.
#[derive(Debug)]
pub(crate) struct CachedVerifier {
    verifier: Verifier,
    /// `None`: nothing is remembered.
    seen: Option<Cache<Token, Arc<Seen>, Weight>>,
}

/// A token with what it says.
pub(crate) struct Seen {
    pub(crate) verified: VerifiedToken,
    presented: Token,
    grounds: Grounds,
}

/// The token as it was presented; whoever holds it can use it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

#[derive(Clone)]
struct Weight;

impl CachedVerifier {
    /// `bytes_max` bounds the memory; 0 remembers nothing.
    pub(crate) fn new(verifier: Verifier, bytes_max: u64) -> Self {
        let typical = WEIGHT_BASE + WEIGHT_FACTOR * TOKEN_BYTES_TYPICAL;
        let items = usize::try_from(bytes_max / typical).unwrap_or(usize::MAX);
        let seen = (bytes_max > 0).then(|| Cache::with_weighter(items, bytes_max, Weight));
        Self { verifier, seen }
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// As [`Verifier::verify`], for a token that may have been seen before.
    pub(crate) fn verify(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<Arc<Seen>, Obstacle> {
        if let Some(seen) = self.seen.as_ref().and_then(|cache| cache.get(&Presented(token.expose()))) {
            match self.verifier.is_still_good(&seen.verified, &seen.grounds, audience, now) {
                Ok(true) => return Ok(seen),
                Ok(false) => {}
                Err(error) => return Err(self.refuse(token, error)),
            }
        }
        let (verified, grounds) = self.verifier.attempt(token, audience, now)?;
        let presented = Token(token.expose().into());
        let seen = Arc::new(Seen { verified, presented: presented.clone(), grounds });
        if let Some(cache) = &self.seen {
            cache.insert(presented, Arc::clone(&seen));
        }
        Ok(seen)
    }

    /// A token for another audience stays: it is good where it belongs. So does one that nobody can judge now.
    fn refuse(&self, token: UnverifiedToken<'_>, error: VerifyError) -> Obstacle {
        if !error.is_audience_mismatch()
            && !error.is_transient()
            && let Some(cache) = &self.seen
        {
            cache.remove(&Presented(token.expose()));
        }
        error.into()
    }
}

impl Seen {
    /// The token as it was presented.
    pub(crate) fn presented(&self) -> &str {
        &self.presented.0
    }

    /// The token as its issuer signed it.
    pub(crate) fn signed(&self) -> &str {
        self.grounds.opened.as_deref().unwrap_or(&self.presented.0)
    }
}

/// Whoever holds the token can use it.
impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seen")
            .field("verified", &self.verified)
            .field("presented", &self.presented)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({} bytes)", self.0.len())
    }
}

impl Hash for Token {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Presented(&self.0).hash(state);
    }
}

/// The same token, borrowed.
struct Presented<'a>(&'a str);

impl Hash for Presented<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes = self.0.as_bytes();
        state.write(bytes.last_chunk::<HASHED_BYTES>().map_or(bytes, |end| end.as_slice()));
    }
}

impl Equivalent<Token> for Presented<'_> {
    fn equivalent(&self, token: &Token) -> bool {
        *self.0 == *token.0
    }
}

impl Weighter<Token, Arc<Seen>> for Weight {
    fn weight(&self, token: &Token, _: &Arc<Seen>) -> u64 {
        WEIGHT_BASE + WEIGHT_FACTOR * u64::try_from(token.0.len()).unwrap_or(u64::MAX / 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::TestIssuer;

    #[test]
    fn tokens_seen_before_stay_within_their_capacity() {
        const BYTES_MAX: u64 = 64 * 1024;
        let issuer = TestIssuer::new("https://issuer.example");
        let cached = CachedVerifier::new(issuer.verifier(), BYTES_MAX);
        let now = cached.verifier().now();
        for n in 0..200 {
            let token = issuer.token().audience("inventory").claim("jti", format!("token-{n}")).sign();
            assert!(cached.verify(UnverifiedToken::new(&token), "inventory", now).is_ok());
        }
        let seen = cached.seen.as_ref().unwrap();
        assert!(seen.weight() <= BYTES_MAX && !seen.is_empty(), "{}", seen.weight());
    }
}
