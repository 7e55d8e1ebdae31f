//! A verifier's settings, checked before it works.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Encryption, Inner, TrustedIssuer, Verifier,
    cache::Memory,
    issuers::{Issuers, TrustedIssuers},
};
use crate::{
    clock::{Clock, SystemClock},
    http_url::may_hold_password,
};

const LEEWAY: Duration = Duration::from_secs(5);
/// The largest leeway. More would not cover clock skew, but extend the life of every token. An issuer keeps
/// revocations and keys for this much longer than the tokens live.
pub const LEEWAY_MAX: Duration = Duration::from_secs(600);
/// The default memory for verified tokens, in bytes: some 20,000 tokens.
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The length above which a token is rejected unparsed, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Settings for a [`Verifier`].
#[derive(Debug)]
pub struct VerifierBuilder {
    issuers: Vec<TrustedIssuer>,
    none_yet: bool,
    leeway: Duration,
    token_bytes_max: usize,
    encryption: Encryption,
    cache_bytes_max: u64,
    clock: Arc<dyn Clock>,
}

impl VerifierBuilder {
    pub(super) fn new() -> Self {
        Self {
            issuers: Vec::new(),
            none_yet: false,
            leeway: LEEWAY,
            token_bytes_max: TOKEN_BYTES_MAX,
            encryption: Encryption::default(),
            cache_bytes_max: CACHE_BYTES_MAX,
            clock: SystemClock::shared(),
        }
    }

    /// Trusts one more issuer.
    #[must_use]
    pub fn issuer(mut self, issuer: TrustedIssuer) -> Self {
        self.issuers.push(issuer);
        self
    }

    /// Allows a verifier without an issuer, to which [`Verifier::add`] adds some later. Until then it rejects
    /// every token.
    #[must_use]
    pub fn no_issuer_yet(mut self) -> Self {
        self.none_yet = true;
        self
    }

    /// Sets the tolerance for differing clocks of issuer and verifier, in whole seconds; at most ten minutes.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets the longest token that is read, in bytes. Default: 8 KiB. Foreign issuers have a bound of their
    /// own: [`TrustedIssuer::token_bytes_max`].
    #[must_use]
    pub fn token_bytes_max(mut self, token_bytes_max: usize) -> Self {
        self.token_bytes_max = token_bytes_max;
        self
    }

    /// Decrypts tokens that name this key. Call it for several keys during a rotation.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn decryption_key(mut self, key: crate::encryption::DecryptionKey) -> Self {
        self.encryption.add(key);
        self
    }

    /// Accepts only encrypted tokens.
    #[cfg(feature = "encryption")]
    #[must_use]
    pub fn require_encryption(mut self) -> Self {
        self.encryption.require();
        self
    }

    /// Bounds the memory for verified tokens, in bytes; 0 checks every signature each time. Default: 64 MiB,
    /// for some 20,000 tokens. All layers over this verifier share it.
    #[must_use]
    pub fn cache_bytes_max(mut self, cache_bytes_max: u64) -> Self {
        self.cache_bytes_max = cache_bytes_max;
        self
    }

    /// Reads the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the verifier. Within a Tokio runtime it begins to fetch key sets. An unreachable issuer is no
    /// error, and is asked again.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no issuer, unless [`VerifierBuilder::no_issuer_yet`] allows it. Also if
    /// an issuer is named twice or must not be fetched from. Also if the leeway is too large. Also if tokens
    /// must be encrypted and there is no key to decrypt them, or two keys have one ID.
    pub fn build(self) -> Result<Verifier, BuildError> {
        if self.issuers.is_empty() && !self.none_yet {
            return Err(BuildError::new("", "no issuer is trusted, so every token would be refused"));
        }
        if self.leeway > LEEWAY_MAX {
            return Err(BuildError::new("", "the leeway is more than ten minutes"));
        }
        self.encryption.check()?;
        let mut issuers = Issuers::default();
        for issuer in self.issuers {
            issuers.insert(issuer.build(&self.clock, self.token_bytes_max)?)?;
        }
        Ok(Verifier(Arc::new(Inner {
            issuers: TrustedIssuers::new(issuers),
            leeway: Duration::from_secs(self.leeway.as_secs()),
            token_bytes_max: self.token_bytes_max,
            memory: Memory::new(self.cache_bytes_max, self.encryption.has_keys()),
            encryption: self.encryption,
            clock: self.clock,
        })))
    }
}

/// The error of a verifier that cannot be built.
#[derive(Debug)]
pub struct BuildError {
    /// Empty if there is none to name.
    issuer: String,
    fault: String,
}

impl BuildError {
    pub(crate) fn new(issuer: &str, fault: impl Into<String>) -> Self {
        let issuer = if may_hold_password(issuer) { String::new() } else { issuer.to_owned() };
        Self { issuer, fault: fault.into() }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.issuer.is_empty() { f.write_str(&self.fault) } else { write!(f, "{}: {}", self.issuer, self.fault) }
    }
}

impl std::error::Error for BuildError {}
