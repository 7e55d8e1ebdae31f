//! The cache of verified tokens. A signature is checked once; everything that may change is checked on every
//! call.
//!
//! A token is found by all of its bytes. The hash is keyed and covers the end of the signature alone, which
//! only the issuer can choose. A hit compares the whole token, and is valid only while the issuer still
//! publishes the key it was verified with. Times, audience and revocations are checked each time.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
    time::SystemTime,
};

use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::{Grounds, Obstacle, Verifier};
use crate::{
    error::VerifyError,
    token::{UnverifiedToken, VerifiedToken},
};

/// The length of the signature's end that is hashed: 256 bits.
const HASHED_BYTES: usize = 43;
/// The overhead of an entry: the cache's own slot and links, and four allocations.
const ENTRY_BYTES: usize = 256;
/// The typical size of an entry, for a token of client credentials. Only the cache's first allocation depends
/// on it.
const ENTRY_BYTES_TYPICAL: u64 = 2048;
/// The share of the memory for the index of encrypted tokens by signed token: one part of this many.
const WRAPPINGS_PART: u64 = 8;

/// The verified tokens that a verifier remembers. All layers over the verifier share them.
#[derive(Debug)]
pub(super) struct Memory {
    seen: Cache<Token, Arc<Seen>, Weight>,
    /// The signed token inside an encrypted one, and the encrypted one that it is cached under. The
    /// audience's key is public, so the holder of a signed token can encrypt it anew without end. Each new
    /// wrapping replaces the last.
    wrappings: Option<Cache<Token, Token, Weight>>,
}

/// A token and its claims.
pub(crate) struct Seen {
    pub(crate) verified: VerifiedToken,
    presented: Token,
    grounds: Grounds,
    /// The memory of the whole entry, decoded claims included.
    bytes: u64,
}

/// The token as it was presented. It is a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(Arc<str>);

#[derive(Clone)]
struct Weight;

impl Verifier {
    /// Verifies as [`Verifier::verify`], and remembers the token.
    pub(crate) fn verify_once(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<Arc<Seen>, Obstacle> {
        let memory = self.0.memory.as_ref();
        if let Some(seen) = memory.and_then(|memory| memory.seen.get(&Presented(token.expose()))) {
            match self.is_still_good(&seen.verified, &seen.grounds, audience, now) {
                Ok(true) => return Ok(seen),
                Ok(false) => {}
                Err(error) => return Err(self.refuse(token, error)),
            }
        }
        let (verified, grounds) = self.attempt(token, audience, now)?;
        let seen = Arc::new(Seen::new(verified, Token(token.expose().into()), grounds));
        if let Some(memory) = memory {
            memory.hold(&seen);
        }
        Ok(seen)
    }

    /// Checks the token of a call in progress again: it has not expired, and neither it nor its key was
    /// revoked. The signature is checked again only if the issuer no longer publishes the key, or is no
    /// longer trusted as it was. An unreachable issuer ends no call.
    pub(crate) fn check_again(&self, seen: &Seen, audience: &str, now: SystemTime) -> Result<(), VerifyError> {
        let error = match self.is_still_good(&seen.verified, &seen.grounds, audience, now) {
            Ok(true) => return Ok(()),
            Ok(false) => match self.attempt(UnverifiedToken::new(seen.presented()), audience, now) {
                Ok(_) | Err(Obstacle::KeyOnItsWay(_)) => return Ok(()),
                Err(Obstacle::Refused(error)) => error,
            },
            Err(error) => error,
        };
        if error.is_transient() { Ok(()) } else { Err(error) }
    }

    /// Forgets a rejected token. A token for another audience stays, as it is valid there. So does one that
    /// cannot be judged at the moment.
    fn refuse(&self, token: UnverifiedToken<'_>, error: VerifyError) -> Obstacle {
        if !error.is_audience_mismatch()
            && !error.is_transient()
            && let Some(memory) = &self.0.memory
        {
            memory.seen.remove(&Presented(token.expose()));
        }
        error.into()
    }
}

impl Memory {
    /// Returns `None` for 0 bytes: then nothing is cached.
    pub(super) fn new(bytes_max: u64, encrypted: bool) -> Option<Self> {
        if bytes_max == 0 {
            return None;
        }
        let wrappings_max = if encrypted { bytes_max / WRAPPINGS_PART } else { 0 };
        let items = |bytes: u64| usize::try_from(bytes / ENTRY_BYTES_TYPICAL).unwrap_or(usize::MAX);
        let seen_max = bytes_max - wrappings_max;
        Some(Self {
            seen: Cache::with_weighter(items(seen_max), seen_max, Weight),
            wrappings: encrypted.then(|| Cache::with_weighter(items(wrappings_max), wrappings_max, Weight)),
        })
    }

    fn hold(&self, seen: &Arc<Seen>) {
        if let (Some(wrappings), Some(signed)) = (&self.wrappings, &seen.grounds.opened) {
            let former = wrappings.get(&Presented(signed));
            if let Some(former) = former.filter(|former| *former != seen.presented) {
                self.seen.remove(&Presented(&former.0));
            }
            wrappings.insert(Token(Arc::clone(signed)), seen.presented.clone());
        }
        self.seen.insert(seen.presented.clone(), Arc::clone(seen));
    }
}

impl Seen {
    fn new(verified: VerifiedToken, presented: Token, grounds: Grounds) -> Self {
        let opened = grounds.opened.as_ref().map_or(0, |opened| opened.len());
        let held = presented.0.len() + opened + verified.checked().bytes();
        let bytes = (size_of::<Self>() + ENTRY_BYTES).saturating_add(held);
        Self { verified, presented, grounds, bytes: u64::try_from(bytes).unwrap_or(u64::MAX) }
    }

    /// Returns the token as it was presented.
    pub(crate) fn presented(&self) -> &str {
        &self.presented.0
    }

    /// Returns the token as its issuer signed it.
    pub(crate) fn signed(&self) -> &str {
        self.grounds.opened.as_deref().unwrap_or(&self.presented.0)
    }
}

/// The token is a secret, so it is not printed.
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
    fn weight(&self, _: &Token, seen: &Arc<Seen>) -> u64 {
        seen.bytes
    }
}

impl Weighter<Token, Token> for Weight {
    fn weight(&self, signed: &Token, presented: &Token) -> u64 {
        u64::try_from(ENTRY_BYTES + signed.0.len() + presented.0.len()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_util::TestIssuer;

    fn cached(issuer: &TestIssuer, bytes_max: u64) -> Verifier {
        let builder = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock());
        builder.cache_bytes_max(bytes_max).build().unwrap()
    }

    #[test]
    fn tokens_seen_before_stay_within_their_capacity() {
        const BYTES_MAX: u64 = 64 * 1024;
        let issuer = TestIssuer::new("https://issuer.example");
        let cached = cached(&issuer, BYTES_MAX);
        let now = cached.now();
        for n in 0..200 {
            let token = issuer.token().audience("inventory").claim("jti", format!("token-{n}")).sign();
            assert!(cached.verify_once(UnverifiedToken::new(&token), "inventory", now).is_ok());
        }
        let seen = &cached.0.memory.as_ref().unwrap().seen;
        assert!(seen.weight() <= BYTES_MAX && !seen.is_empty(), "{}", seen.weight());
    }

    /// The figures of a token with 400 small objects, measured with a counting allocator: 275,369 bytes.
    #[test]
    fn an_entry_weighs_what_its_claims_take_in_memory() {
        let issuer = TestIssuer::new("https://issuer.example");
        let cached = cached(&issuer, 1024 * 1024);
        let now = cached.now();
        let weight = |token: String| cached.verify_once(UnverifiedToken::new(&token), "inventory", now).unwrap().bytes;
        let plain = weight(issuer.token().sign());
        assert!((1_500..4_000).contains(&plain), "{plain}");
        let objects = vec![serde_json::json!({ "a": 1 }); 400];
        let nested = weight(issuer.token().claim("roles", objects).sign());
        assert!((275_000..400_000).contains(&nested), "{nested}");
        let text = weight(issuer.token().claim("text", "x".repeat(4000)).sign());
        assert!((plain + 8_000..plain + 12_000).contains(&text), "{text} beside {plain}");
    }

    #[test]
    fn a_signed_token_is_held_once_however_often_it_is_encrypted() {
        use crate::encryption::{DecryptionKey, EncryptionKey};
        use crate::signature::{Algorithm, SigningKey};
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &*der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        let issuer = TestIssuer::new("https://issuer.example");
        let key = DecryptionKey::from_pem(pem.as_bytes()).unwrap();
        let public: EncryptionKey = key.public();
        let builder = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock());
        let cached = builder.decryption_key(key).cache_bytes_max(1024 * 1024).build().unwrap();
        let now = cached.now();
        let signed = issuer.token().sign();
        for _ in 0..50 {
            let wrapped = public.encrypt(&signed).unwrap();
            cached.verify_once(UnverifiedToken::new(&wrapped), "inventory", now).unwrap();
        }
        assert_eq!(cached.0.memory.as_ref().unwrap().seen.len(), 1);
    }

    /// Twenty routes over one verifier check one signature, and hold one copy.
    #[test]
    fn clones_of_a_verifier_share_one_cache() {
        let issuer = TestIssuer::new("https://issuer.example");
        let first = cached(&issuer, 1024 * 1024);
        let (second, now) = (first.clone(), first.now());
        let token = issuer.token().claim("aud", serde_json::json!(["inventory", "orders"])).sign();
        let seen = first.verify_once(UnverifiedToken::new(&token), "inventory", now).unwrap();
        // For another audience too.
        let again = second.verify_once(UnverifiedToken::new(&token), "orders", now).unwrap();
        assert!(Arc::ptr_eq(&seen, &again));
        let none = cached(&issuer, 0);
        let seen = none.verify_once(UnverifiedToken::new(&token), "inventory", now).unwrap();
        assert!(!Arc::ptr_eq(&seen, &none.verify_once(UnverifiedToken::new(&token), "inventory", now).unwrap()));
    }
}
