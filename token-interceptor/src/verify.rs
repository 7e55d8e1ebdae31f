//! The only verifier: an [`UnverifiedToken`] becomes a [`VerifiedToken`], or an error that says which check
//! failed. RFC 9068 section 4, RFC 8725.
//!
//! The checks, in order: size → (decryption) → shape and algorithm → issuer → key ID → signature → type → audience → times →
//! revocation. Nothing that a token says is acted on before its signature is checked, except to find the
//! issuer and the key.

mod builder;
mod claims;
mod issuer;
mod issuer_channel;
pub mod jws;
mod trusted_issuer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use builder::Encryption;
pub use builder::{BuildError, VerifierBuilder};
pub use issuer_channel::IssuerChannel;
pub use trusted_issuer::TrustedIssuer;

use crate::{
    clock::{Clock, numeric_date},
    error::{Unverified, VerifyError},
    key_set::{schedule::UnknownKey, source::Lookup},
    token::{Claims, UnverifiedToken, VerifiedToken},
};
use issuer::Issuer;
use jws::Jws;

/// What a caller is told to wait when a key is being fetched and the caller cannot wait here.
const KEY_ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Fetches that one call waits for: one that began before its key was published, and one of its own.
const FETCHES_AWAITED_MAX: usize = 2;

/// Verifies tokens of the issuers that it trusts. Clones share keys and settings.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuers: Vec<Issuer>,
    leeway: Duration,
    token_bytes_max: usize,
    encryption: Encryption,
    clock: Arc<dyn Clock>,
}

/// Why there is no verdict yet, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Refused(VerifyError),
    /// The token's key is not held, and a fetch that may bring it is under way.
    KeyOnItsWay(KeyWait),
}

/// For [`Verifier::key_arrives`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyWait {
    issuer: usize,
    news: u64,
}

/// What a verdict rests on, beside the token and the time.
pub(crate) struct Grounds {
    issuer: usize,
    key_version: u64,
    revocation_version: AtomicU64,
    /// The signed token, where the one that was presented is encrypted.
    pub(crate) opened: Option<String>,
}

impl Verifier {
    /// Begins with no issuer, 5 seconds of leeway, tokens of 8 KiB at most, and the machine's clock.
    #[must_use]
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::new()
    }

    /// The time of day, by this verifier's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// How far clocks may disagree.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.0.leeway
    }

    /// The issuers that are trusted, by their identifiers.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.0.issuers.iter().map(|issuer| &*issuer.id)
    }

    /// Verifies `token` for `audience` at `now`. Does not wait: where the key is not held yet the error is
    /// transient, and a fetch begins.
    ///
    /// # Errors
    ///
    /// When any check fails, or it cannot be known whether one would: [`VerifyError::is_transient`].
    pub fn verify(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, VerifyError> {
        self.attempt(token, audience, now).map(|(verified, _)| verified).map_err(Obstacle::into_error)
    }

    /// As [`Verifier::verify`], but waits a moment for a key that is being fetched.
    ///
    /// # Errors
    ///
    /// As [`Verifier::verify`].
    pub async fn verify_with_fetch(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, VerifyError> {
        for _ in 0..FETCHES_AWAITED_MAX {
            match self.attempt(token, audience, now) {
                Ok((verified, _)) => return Ok(verified),
                Err(Obstacle::Refused(error)) => return Err(error),
                Err(Obstacle::KeyOnItsWay(wait)) => self.key_arrives(wait).await?,
            }
        }
        self.verify(token, audience, now)
    }

    /// Waits until the fetch has ended that may bring a key.
    pub(crate) async fn key_arrives(&self, wait: KeyWait) -> Result<(), VerifyError> {
        let Some(issuer) = self.0.issuers.get(wait.issuer) else { return Ok(()) };
        let news = issuer.keys.news_since(wait.news).await;
        news.map_err(|retry_after| Unverified::KeyUnavailable { retry_after }.into())
    }

    /// Every check, from the top to the bottom.
    pub(crate) fn attempt(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<(VerifiedToken, Grounds), Obstacle> {
        if token.expose().len() > self.0.token_bytes_max {
            return Err(Unverified::TooLarge.into());
        }
        let opened = self.0.encryption.open(token.expose())?;
        let jws = Jws::parse(opened.as_deref().unwrap_or(token.expose()))?;
        let (index, issuer) = self.issuer(claims::text(&jws.claims, "iss")?)?;
        issuer.check_algorithm(jws.algorithm)?;
        issuer.check_fresh()?;
        // Read before the keys and the revocations themselves: what changes meanwhile is seen next time.
        let wait = KeyWait { issuer: index, news: issuer.keys.news() };
        let (key_version, revocation_version) = (issuer.keys.version(), issuer.revocations.version().into());
        let key = match issuer.keys.find(jws.key_id.as_deref(), jws.algorithm) {
            Lookup::Key(key) => key,
            Lookup::OtherAlgorithm => return Err(Unverified::AlgorithmNotAllowed.into()),
            Lookup::Unknown(UnknownKey::Wait) => return Err(Obstacle::KeyOnItsWay(wait)),
            Lookup::Unknown(UnknownKey::Refuse) => return Err(Unverified::KeyUnknown.into()),
            Lookup::Unknown(UnknownKey::Unavailable { retry_after }) => {
                return Err(Unverified::KeyUnavailable { retry_after }.into());
            }
        };
        if !key.verifies(jws.signed, &jws.signature) {
            return Err(Unverified::SignatureInvalid.into());
        }
        issuer.check_type(jws.token_type.as_deref())?;
        let claims = claims::check(jws.claims, Arc::clone(&issuer.id), issuer.profile)?;
        issuer.check_audience(&claims, audience)?;
        self.check_times(&claims, now)?;
        let verified = VerifiedToken::new(claims);
        if issuer.revocations.revokes(&verified) {
            return Err(Unverified::Revoked.into());
        }
        Ok((verified, Grounds { issuer: index, key_version, revocation_version, opened }))
    }

    /// Checks what may have changed since `verified` was: freshness, audience, times, revocation. `false` where
    /// the issuer's keys have changed: then the token has to be verified anew.
    pub(crate) fn is_still_good(
        &self,
        verified: &VerifiedToken,
        grounds: &Grounds,
        audience: &str,
        now: SystemTime,
    ) -> Result<bool, VerifyError> {
        let Some(issuer) = self.0.issuers.get(grounds.issuer) else { return Ok(false) };
        if issuer.keys.version() != grounds.key_version {
            return Ok(false);
        }
        issuer.check_fresh()?;
        issuer.check_audience(verified.checked(), audience)?;
        self.check_times(verified.checked(), now)?;
        let revocation_version = issuer.revocations.version();
        if grounds.revocation_version.load(Ordering::Acquire) != revocation_version {
            if issuer.revocations.revokes(verified) {
                return Err(Unverified::Revoked.into());
            }
            grounds.revocation_version.store(revocation_version, Ordering::Release);
        }
        Ok(true)
    }

    /// RFC 9068 section 4: exactly one of the trusted ones.
    fn issuer(&self, id: &str) -> Result<(usize, &Issuer), VerifyError> {
        let mut issuers = self.0.issuers.iter().enumerate();
        issuers.find(|(_, issuer)| *issuer.id == *id).ok_or_else(|| Unverified::IssuerUnknown.into())
    }

    /// RFC 7519 sections 4.1.4 to 4.1.6.
    fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<(), VerifyError> {
        let (now, leeway) = (numeric_date(now), self.0.leeway.as_secs());
        let soon = now.saturating_add(leeway);
        if now >= claims.expires_at.saturating_add(leeway) {
            return Err(Unverified::Expired.into());
        }
        if claims.not_before.is_some_and(|not_before| not_before > soon) {
            return Err(Unverified::NotYetValid.into());
        }
        // Not asked for by RFC 7519, but no honest issuer writes it.
        if claims.issued_at > soon {
            return Err(Unverified::IssuedInFuture.into());
        }
        Ok(())
    }
}

impl Obstacle {
    /// For whoever cannot wait.
    pub(crate) fn into_error(self) -> VerifyError {
        match self {
            Self::Refused(error) => error,
            Self::KeyOnItsWay(_) => Unverified::KeyUnavailable { retry_after: KEY_ON_ITS_WAY }.into(),
        }
    }
}

impl KeyWait {
    /// For whoever has waited long enough.
    pub(crate) fn given_up(self) -> VerifyError {
        Obstacle::KeyOnItsWay(self).into_error()
    }
}

impl From<VerifyError> for Obstacle {
    fn from(error: VerifyError) -> Self {
        Self::Refused(error)
    }
}

impl From<Unverified> for Obstacle {
    fn from(kind: Unverified) -> Self {
        Self::Refused(kind.into())
    }
}
