//! The only verifier: an [`UnverifiedToken`] becomes a [`VerifiedToken`], or an error that names the failed
//! check. RFC 9068 section 4, RFC 8725.
//!
//! The checks, in order: size → (decryption) → shape and algorithm → issuer → key ID → signature → type →
//! claims → audience → times → lifetime → revocation. Before the signature is checked, a token's content only
//! selects the issuer and the key.

mod builder;
mod cache;
mod claims;
#[cfg(feature = "encryption")]
mod encrypted;
#[cfg(all(feature = "server", feature = "client", feature = "http"))]
mod introspected;
mod issuer;
mod issuer_channel;
mod issuers;
pub mod jws;
#[cfg(not(feature = "encryption"))]
mod not_encrypted;
mod obstacle;
mod profile;
mod trusted_issuer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

pub use builder::{BuildError, LEEWAY_MAX, VerifierBuilder};
use serde_json::{Map, Value};

use cache::Memory;
pub(crate) use cache::Seen;
#[cfg(feature = "encryption")]
use encrypted::Encryption;
pub use issuer_channel::IssuerChannel;
#[cfg(not(feature = "encryption"))]
use not_encrypted::Encryption;
pub(crate) use obstacle::{KeyWait, Obstacle};
pub use profile::{TokenProfile, spiffe};
pub use trusted_issuer::TrustedIssuer;

use crate::{
    clock::{Clock, numeric_date},
    error::{Unverified, VerifyError},
    signature::VerifyingKey,
    token::{Claims, UnverifiedToken, VerifiedToken},
};
use issuer::Issuer;
use issuers::{Issuers, TrustedIssuers};
use jws::Jws;
use obstacle::signed_by;

/// Fetches that one call waits for: one that began before its key was published, and one of its own.
const FETCHES_AWAITED_MAX: usize = 2;

/// Verifies tokens of the issuers that it trusts. Clones share keys and settings.
///
/// An access token is a statement that its issuer signed. A verifier checks the signature with the issuer's
/// published key, and then every claim: issuer, audience, type, times, revocation. It returns a
/// [`VerifiedToken`], or the check that failed.
///
/// [`AuthorizationLayer`](crate::layer::AuthorizationLayer) does this for each request. Use a verifier
/// directly for tokens that arrive by another way, such as a message queue:
///
/// ```
/// use token_interceptor::{test_util::TestIssuer, token::UnverifiedToken, verify::Verifier};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = TestIssuer::new("https://issuer.example");
/// // In production: `TrustedIssuer::discover("https://issuer.example")?`.
/// let verifier = Verifier::builder().issuer(issuer.trusted()).clock(issuer.clock()).build()?;
///
/// let token = issuer.token().audience("inventory").scope("inventory.read").sign();
/// let verified = verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now())?;
/// assert!(verified.has_scope("inventory.read"));
///
/// // A token for another audience is invalid here.
/// let error = verifier.verify(UnverifiedToken::new(&token), "billing", verifier.now()).unwrap_err();
/// assert!(!error.is_transient());
/// # Ok(()) }
/// ```
///
/// # The source of the keys
///
/// | the issuer | trust it by |
/// |---|---|
/// | a token server of this project | [`TrustedIssuer::watch`]: keys and revocations are pushed |
/// | any OAuth 2.0 or OpenID Connect issuer | [`TrustedIssuer::discover`], and a [`TokenProfile`] |
/// | keys at a known URL | [`TrustedIssuer::jwks`] |
/// | keys in the configuration | [`TrustedIssuer::fixed`] |
///
/// # When the key is not known yet
///
/// [`Verifier::verify`] never waits: it starts a fetch and returns a transient error.
/// [`Verifier::verify_with_fetch`] waits for that fetch, for two seconds at the most.
#[derive(Clone, Debug)]
pub struct Verifier(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    issuers: TrustedIssuers,
    leeway: Duration,
    /// The length of the longest token of an issuer without a bound of its own.
    token_bytes_max: usize,
    encryption: Encryption,
    /// `None`: nothing is cached.
    memory: Option<Memory>,
    clock: Arc<dyn Clock>,
}

/// The grounds of a verdict, beside the token and the time.
pub(crate) struct Grounds {
    issuer: Arc<Issuer>,
    /// The version of the trusted issuers among which the issuer was found last.
    issuers_version: AtomicU64,
    key: Arc<VerifyingKey>,
    /// The version of the key set in which the key was found last.
    key_version: AtomicU64,
    revocation_version: AtomicU64,
    /// The decrypted token, if the presented one is encrypted.
    pub(crate) opened: Option<Arc<str>>,
}

impl Verifier {
    /// Returns settings with no issuer, 5 seconds of leeway, tokens of 8 KiB at most, and the machine's
    /// clock.
    #[must_use]
    pub fn builder() -> VerifierBuilder {
        VerifierBuilder::new()
    }

    /// Returns the time of day, by this verifier's clock.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.0.clock.now()
    }

    /// Returns the tolerance for differing clocks.
    #[must_use]
    pub fn leeway(&self) -> Duration {
        self.0.leeway
    }

    /// Returns true if client IDs identify callers in tokens for `audience`: of the issuers that may issue
    /// them, all but one have their own [`clients`](TrustedIssuer::clients).
    pub(crate) fn tells_callers_apart(&self, audience: &str) -> bool {
        self.0.issuers.now().tells_callers_apart(audience)
    }

    /// Trusts one more issuer, from the next token on. All clones of this verifier do. Within a Tokio runtime
    /// it begins to fetch the key set.
    ///
    /// Give the issuer its [`clients`](TrustedIssuer::clients), or a policy that names `callers` no longer
    /// admits client IDs that two issuers may use.
    ///
    /// ```
    /// use token_interceptor::{test_util::TestIssuer, verify::Verifier};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let verifier = Verifier::builder().no_issuer_yet().build()?;
    /// // In production: `TrustedIssuer::discover(&tenant.issuer)?`.
    /// let tenant = TestIssuer::new("https://tenant.example");
    /// verifier.add(tenant.trusted().clients(["tenant-*"]))?;
    /// assert!(verifier.remove("https://tenant.example"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the issuer is trusted already, or its settings are invalid, as in
    /// [`VerifierBuilder::build`].
    pub fn add(&self, issuer: TrustedIssuer) -> Result<(), BuildError> {
        self.0.issuers.add(issuer.build(&self.0.clock, self.0.token_bytes_max)?)
    }

    /// Trusts the issuer with this identifier no longer, and returns true if it was trusted. Its tokens are
    /// rejected from the next call on, cached or not, and open streams end within a second. Its keys are no
    /// longer fetched.
    pub fn remove(&self, issuer: &str) -> bool {
        self.0.issuers.remove(issuer)
    }

    /// Returns the identifiers of the issuers that are trusted at this moment, sorted.
    #[must_use]
    pub fn issuers(&self) -> Vec<Arc<str>> {
        self.0.issuers.now().ids().cloned().collect()
    }

    /// Waits until the keys of every trusted issuer are there. If a server awaits it before it reports itself
    /// ready, no first call waits for keys.
    ///
    /// It waits for as long as an issuer is unreachable. Bound it with a timeout, which ends the wait alone.
    pub async fn ready(&self) {
        loop {
            let unready = self.0.issuers.now().unready(self.now()).cloned();
            let Some(issuer) = unready else { return };
            issuer.keys.made_ready().await;
        }
    }

    /// Verifies `token` for `audience` at `now`, without waiting. If the key is not cached yet, the error is
    /// transient and a fetch begins.
    ///
    /// # Errors
    ///
    /// Returns an error if a check fails, or cannot be made at the moment: [`VerifyError::is_transient`].
    pub fn verify(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, VerifyError> {
        self.attempt(token, audience, now).map(|(verified, _)| verified).map_err(Obstacle::into_error)
    }

    /// Verifies as [`Verifier::verify`], but waits briefly for a key that is being fetched.
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

    /// Waits until the fetch that may bring a key has ended.
    pub(crate) async fn key_arrives(&self, wait: KeyWait) -> Result<(), VerifyError> {
        // The next attempt reports an issuer that was removed meanwhile.
        let Some(issuer) = self.0.issuers.now().named(&wait.issuer).cloned() else { return Ok(()) };
        let news = issuer.keys.news_since(wait.news).await;
        news.map_err(|retry_after| Unverified::KeyUnavailable { retry_after }.into())
    }

    /// Makes every check, from top to bottom.
    pub(crate) fn attempt(
        &self,
        token: UnverifiedToken<'_>,
        audience: &str,
        now: SystemTime,
    ) -> Result<(VerifiedToken, Grounds), Obstacle> {
        let issuers_version = self.0.issuers.version();
        let issuers = self.0.issuers.now();
        check_size(token, issuers.token_bytes_max().unwrap_or(self.0.token_bytes_max))?;
        let opened: Option<Arc<str>> = self.0.encryption.open(token.expose())?.map(Into::into);
        let jws = Jws::parse_foreign(opened.as_deref().unwrap_or(token.expose()))?;
        let issuer = issuers.of(&jws.claims)?;
        check_size(token, issuer.token_bytes_max)?;
        issuer.check_header(&jws)?;
        issuer.check_fresh(now)?;
        // Read before the keys and the revocations, so that a later change is noticed next time.
        let wait = KeyWait { issuer: Arc::clone(&issuer.id), news: issuer.keys.news() };
        let (key_version, revocation_version) = (issuer.keys.version().into(), issuer.revocations.version().into());
        let key = signed_by(issuer, &jws, wait)?;
        issuer.check_type(jws.token_type.as_deref())?;
        let verified = self.check_claims((&issuers, issuer), jws.claims, audience, now)?;
        let (issuer, issuers_version) = (Arc::clone(issuer), issuers_version.into());
        Ok((verified, Grounds { issuer, issuers_version, key, key_version, revocation_version, opened }))
    }

    /// Makes every check of the claims that `issuer` vouches for, from top to bottom.
    fn check_claims(
        &self,
        (issuers, issuer): (&Issuers, &Issuer),
        claims: Map<String, Value>,
        audience: &str,
        now: SystemTime,
    ) -> Result<VerifiedToken, VerifyError> {
        let mut claims = claims::check(claims, Arc::clone(&issuer.id), &issuer.profile)?;
        issuer.limit(&mut claims)?;
        claims.client_id_is_unique = issuers.client_id_is_unique(issuer, claims.client_id());
        issuer.check_audience(&claims, audience)?;
        self.check_times(&claims, now)?;
        issuer.check_lifetime(&claims, now)?;
        let verified = VerifiedToken::new(claims);
        issuer.check_revoked(&verified)?;
        Ok(verified)
    }

    /// Checks everything that may have changed since `verified` was: issuer, freshness, key, audience, times,
    /// revocation. Returns `false` if the issuer is no longer trusted as it was, or no longer publishes the
    /// key. Then the token has to be verified anew.
    pub(crate) fn is_still_good(
        &self,
        verified: &VerifiedToken,
        grounds: &Grounds,
        audience: &str,
        now: SystemTime,
    ) -> Result<bool, VerifyError> {
        let issuer = &grounds.issuer;
        let issuers_version = self.0.issuers.version();
        if grounds.issuers_version.load(Ordering::Acquire) != issuers_version {
            let (issuers, claims) = (self.0.issuers.now(), verified.checked());
            let unique = issuers.client_id_is_unique(issuer, claims.client_id());
            if !issuers.holds(issuer) || unique != claims.client_id_is_unique {
                return Ok(false);
            }
            grounds.issuers_version.store(issuers_version, Ordering::Release);
        }
        issuer.check_fresh(now)?;
        let key_version = issuer.keys.version();
        if grounds.key_version.load(Ordering::Acquire) != key_version {
            if !issuer.keys.holds(&grounds.key) {
                return Ok(false);
            }
            grounds.key_version.store(key_version, Ordering::Release);
        }
        issuer.check_audience(verified.checked(), audience)?;
        self.check_times(verified.checked(), now)?;
        let revocation_version = issuer.revocations.version();
        if grounds.revocation_version.load(Ordering::Acquire) != revocation_version {
            issuer.check_revoked(verified)?;
            grounds.revocation_version.store(revocation_version, Ordering::Release);
        }
        Ok(true)
    }

    /// RFC 7519 sections 4.1.4 to 4.1.6.
    pub(crate) fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<(), VerifyError> {
        let (now, leeway) = (numeric_date(now), self.0.leeway.as_secs());
        let soon = now.saturating_add(leeway);
        let since = |time: u64| format!("{time} (now {now}, leeway {leeway})");
        if now >= claims.expires_at.saturating_add(leeway) {
            let expected = format!("more than {}", since(now.saturating_sub(leeway)));
            return Err(Unverified::Expired.about("exp", claims.expires_at.to_string(), expected));
        }
        if let Some(not_before) = claims.not_before.filter(|not_before| *not_before > soon) {
            let expected = format!("at most {}", since(soon));
            return Err(Unverified::NotYetValid.about("nbf", not_before.to_string(), expected));
        }
        // RFC 7519 does not demand it, but no honest issuer writes such a time.
        if claims.issued_at > soon {
            let expected = format!("at most {}", since(soon));
            return Err(Unverified::IssuedInFuture.about("iat", claims.issued_at.to_string(), expected));
        }
        Ok(())
    }
}

fn check_size(token: UnverifiedToken<'_>, bytes_max: usize) -> Result<(), VerifyError> {
    let bytes = token.expose().len();
    if bytes <= bytes_max {
        return Ok(());
    }
    Err(Unverified::TooLarge.about("token", format!("{bytes} bytes"), format!("at most {bytes_max} bytes")))
}
