//! The only verifier: an [`UnverifiedToken`] becomes a [`VerifiedToken`], or an error that names the failed
//! check. RFC 9068 section 4, RFC 8725.
//!
//! The checks, in order: size → (decryption) → shape and algorithm → issuer → key ID → signature → type →
//! claims → audience → times → lifetime → revocation. Before the signature is checked, a token's content only
//! selects the issuer and the key.

mod builder;
mod claims;
mod issuer;
mod issuer_channel;
pub mod jws;
mod profile;
mod trusted_issuer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use builder::Encryption;
pub use builder::{BuildError, LEEWAY_MAX, VerifierBuilder};
pub use issuer_channel::IssuerChannel;
pub use profile::TokenProfile;
pub use trusted_issuer::TrustedIssuer;

use crate::{
    clock::{Clock, numeric_date},
    error::{Unverified, VerifyError, kind_of, quoted},
    key_set::{schedule::UnknownKey, source::Lookup},
    signature::VerifyingKey,
    token::{Claims, UnverifiedToken, VerifiedToken},
};
use issuer::Issuer;
use jws::Jws;
use profile::{NamedBy, trust_domain_of};

/// The retry delay of a caller that cannot wait here for a key that is being fetched.
const KEY_ON_ITS_WAY: Duration = Duration::from_secs(1);
/// Issuers that a log line names, at most.
const ISSUERS_NAMED: usize = 4;
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
    issuers: Vec<Issuer>,
    leeway: Duration,
    /// The length of the longest token that any issuer may send.
    token_bytes_max: usize,
    encryption: Encryption,
    clock: Arc<dyn Clock>,
}

/// The reason that there is no verdict, or none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    Refused(VerifyError),
    /// The token's key is not cached, and a fetch that may bring it is in flight.
    KeyOnItsWay(KeyWait),
}

/// A wait for a key, for [`Verifier::key_arrives`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyWait {
    issuer: usize,
    news: u64,
}

/// The grounds of a verdict, beside the token and the time.
pub(crate) struct Grounds {
    issuer: usize,
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

    /// Returns true if `client_id` alone identifies the caller, in tokens for `audience`. Only one issuer
    /// issues tokens for it, or each issuer has its own [`clients`](TrustedIssuer::clients).
    pub(crate) fn client_ids_are_unique(&self, audience: &str) -> bool {
        let speaks = |issuer: &&Issuer| issuer.audiences.as_ref().is_none_or(|audiences| audiences.contains(audience));
        self.0.issuers.iter().filter(speaks).all(|issuer| issuer.client_ids_are_unique)
    }

    /// Returns true if encrypted tokens are accepted.
    pub(crate) fn opens_encrypted(&self) -> bool {
        self.0.encryption.has_keys()
    }

    /// Returns the identifiers of the trusted issuers.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        self.0.issuers.iter().map(|issuer| &*issuer.id)
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
        let Some(issuer) = self.0.issuers.get(wait.issuer) else { return Ok(()) };
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
        check_size(token, self.0.token_bytes_max)?;
        let opened: Option<Arc<str>> = self.0.encryption.open(token.expose())?.map(Into::into);
        let jws = Jws::parse_foreign(opened.as_deref().unwrap_or(token.expose()))?;
        let (index, issuer) = self.issuer(&jws.claims)?;
        check_size(token, issuer.token_bytes_max)?;
        issuer.check_header(&jws)?;
        issuer.check_fresh(now)?;
        // Read before the keys and the revocations, so that a later change is noticed next time.
        let wait = KeyWait { issuer: index, news: issuer.keys.news() };
        let (key_version, revocation_version) = (issuer.keys.version().into(), issuer.revocations.version().into());
        let key = signed_by(issuer, &jws, wait)?;
        issuer.check_type(jws.token_type.as_deref())?;
        let mut claims = claims::check(jws.claims, Arc::clone(&issuer.id), &issuer.profile)?;
        issuer.limit(&mut claims)?;
        issuer.check_audience(&claims, audience)?;
        self.check_times(&claims, now)?;
        issuer.check_lifetime(&claims, now)?;
        let verified = VerifiedToken::new(claims);
        issuer.check_revoked(&verified)?;
        Ok((verified, Grounds { issuer: index, key, key_version, revocation_version, opened }))
    }

    /// Checks everything that may have changed since `verified` was: freshness, key, audience, times,
    /// revocation. Returns `false` if the issuer no longer publishes the key. Then the token has to be
    /// verified anew.
    pub(crate) fn is_still_good(
        &self,
        verified: &VerifiedToken,
        grounds: &Grounds,
        audience: &str,
        now: SystemTime,
    ) -> Result<bool, VerifyError> {
        let Some(issuer) = self.0.issuers.get(grounds.issuer) else { return Ok(false) };
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

    /// RFC 9068 section 4: exactly one of the trusted issuers. `iss` names it, or else the trust domain of
    /// `sub` (SPIFFE JWT-SVID section 3). Keys are never tried to find it.
    fn issuer(&self, claims: &Map<String, Value>) -> Result<(usize, &Issuer), VerifyError> {
        let named = |id: &str, by: NamedBy| {
            let mut issuers = self.0.issuers.iter().enumerate();
            issuers.find(|(_, issuer)| *issuer.id == *id && issuer.profile.issuer == by)
        };
        let unknown = |claim: &'static str, id: &str| {
            let trusted: Vec<&str> = self.issuers().take(ISSUERS_NAMED).collect();
            Unverified::IssuerUnknown.about(claim, quoted(id), format!("one of {trusted:?}"))
        };
        let trust_domain = claims.get("sub").and_then(Value::as_str).and_then(trust_domain_of);
        let by_trust_domain = |domain: &str| named(domain, NamedBy::TrustDomain);
        match trust_domain {
            Some(domain) if !claims.contains_key("iss") => {
                by_trust_domain(domain).ok_or_else(|| unknown("sub", domain))
            }
            Some(_) | None => {
                let id = claims::text(claims, "iss")?;
                let found = named(id, NamedBy::Issuer).or_else(|| by_trust_domain(trust_domain?));
                found.ok_or_else(|| unknown("iss", id))
            }
        }
    }

    /// RFC 7519 sections 4.1.4 to 4.1.6.
    fn check_times(&self, claims: &Claims, now: SystemTime) -> Result<(), VerifyError> {
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

/// Returns the issuer's key that signed the token.
fn signed_by(issuer: &Issuer, jws: &Jws<'_>, wait: KeyWait) -> Result<Arc<VerifyingKey>, Obstacle> {
    let unknown = match issuer.keys.find(jws.key_id.as_deref(), jws.algorithm) {
        Lookup::Keys(candidates) => {
            if let Some(key) = candidates.verifying(jws.signed, &jws.signature) {
                return Ok(key);
            }
            // Without `kid`, only the signature tells a key that is not cached yet from a forgery.
            if jws.key_id.is_some() {
                return Err(Unverified::SignatureInvalid.into());
            }
            match issuer.keys.unknown_key() {
                UnknownKey::Refuse => return Err(Unverified::SignatureInvalid.into()),
                unknown @ (UnknownKey::Wait | UnknownKey::Unavailable { .. }) => unknown,
            }
        }
        Lookup::OtherAlgorithm => {
            let expected = "the algorithm of the key that kid names";
            return Err(Unverified::AlgorithmNotAllowed.about("alg", quoted(jws.algorithm.name()), expected).into());
        }
        Lookup::Unknown(unknown) => unknown,
    };
    Err(match unknown {
        UnknownKey::Wait => Obstacle::KeyOnItsWay(wait),
        UnknownKey::Refuse => {
            let came = jws.key_id.as_deref().map_or_else(|| kind_of(None), quoted);
            Unverified::KeyUnknown.about("kid", came, "a key that the issuer publishes").into()
        }
        UnknownKey::Unavailable { retry_after } => Unverified::KeyUnavailable { retry_after }.into(),
    })
}

impl Obstacle {
    /// Returns the error for a caller that cannot wait.
    pub(crate) fn into_error(self) -> VerifyError {
        match self {
            Self::Refused(error) => error,
            Self::KeyOnItsWay(_) => Unverified::KeyUnavailable { retry_after: KEY_ON_ITS_WAY }.into(),
        }
    }
}

impl KeyWait {
    /// Returns the error for a caller that has waited long enough.
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
