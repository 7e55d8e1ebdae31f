//! Mints tokens: [`GrantedAccess`] → claims → signed token. Only this module decides lifetimes.
//!
//! RFC 9068 section 2.

mod claims;
mod entropy;

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use token_interceptor::{clock::numeric_date, encryption::EncryptionKey, signature::Algorithm};

pub use entropy::Entropy;

use crate::{
    client::{Audience, Scope},
    error::IssueError,
    grant::{GrantedAccess, OnBehalf},
    key::Signer,
};

/// The shortest lifetime that is useful for a token.
const LIFETIME_MIN: Duration = Duration::from_secs(1);

/// The terms for every token of this issuer.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The issuer identifier, `iss`.
    pub issuer: Arc<str>,
    /// The lifetime if neither the request nor the client sets one.
    pub lifetime_default: Duration,
    /// The maximum lifetime of a token.
    pub lifetime_max: Duration,
    /// The maximum length of a token, in bytes. It must fit into a header of the resource servers and their
    /// proxies.
    pub token_bytes_max: usize,
    /// Other maximum lengths, by audience.
    pub token_bytes_max_by_audience: BTreeMap<Audience, usize>,
    /// Audiences whose libraries support only one algorithm. All others get the default algorithm.
    pub algorithm_by_audience: BTreeMap<Audience, Algorithm>,
    /// Audiences whose tokens are encrypted, with the encryption key. Only the audience can read such a
    /// token.
    pub encryption_by_audience: BTreeMap<Audience, EncryptionKey>,
}

impl Terms {
    /// The default lifetime of a token.
    pub const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);
    /// The default limit of a lifetime.
    pub const LIFETIME_MAX_DEFAULT: Duration = Duration::from_secs(3600);
    /// The default limit of a token's length, in bytes.
    pub const TOKEN_BYTES_MAX_DEFAULT: usize = 4096;

    /// Creates the default terms: a lifetime of five minutes, at most an hour, and 4 KiB.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self {
            issuer: issuer.into(),
            lifetime_default: Self::LIFETIME_DEFAULT,
            lifetime_max: Self::LIFETIME_MAX_DEFAULT,
            token_bytes_max: Self::TOKEN_BYTES_MAX_DEFAULT,
            token_bytes_max_by_audience: BTreeMap::new(),
            algorithm_by_audience: BTreeMap::new(),
            encryption_by_audience: BTreeMap::new(),
        }
    }

    /// Returns the requested or default lifetime, in whole seconds. It is capped by the client, the server,
    /// the tokens that this one derives from, and the proof of the client.
    fn lifetime(&self, authorization: &GrantedAccess, now: SystemTime) -> Duration {
        let cap = authorization.client().token_lifetime.unwrap_or(self.lifetime_max).min(self.lifetime_max);
        let usual = authorization.client().token_lifetime.unwrap_or(self.lifetime_default);
        let lifetime = authorization.lifetime().unwrap_or(usual).min(cap).max(LIFETIME_MIN);
        let left = authorization
            .not_after()
            .map_or(u64::MAX, |not_after| numeric_date(not_after).saturating_sub(numeric_date(now)));
        Duration::from_secs(lifetime.as_secs().min(left))
    }

    /// Returns the algorithm for these audiences; `None` is the default one.
    ///
    /// # Errors
    ///
    /// `invalid_target` when no algorithm suits all audiences.
    pub(crate) fn algorithm(&self, audiences: &[Audience]) -> Result<Option<Algorithm>, IssueError> {
        let mut wanted = audiences.iter().filter_map(|audience| self.algorithm_by_audience.get(audience));
        let first = wanted.next().copied();
        if wanted.any(|other| Some(*other) != first) {
            return Err(IssueError::InvalidTarget("The audiences need tokens of different algorithms.".into()));
        }
        Ok(first)
    }

    /// Returns the key that encrypts the token; `None` for a token that is only signed.
    ///
    /// # Errors
    ///
    /// `invalid_target` for several audiences if one of them takes encrypted tokens: only that one could
    /// decrypt it.
    fn encryption(&self, audiences: &[Audience]) -> Result<Option<&EncryptionKey>, IssueError> {
        match audiences {
            [only] => Ok(self.encryption_by_audience.get(only)),
            several if several.iter().any(|audience| self.encryption_by_audience.contains_key(audience)) => {
                Err(IssueError::InvalidTarget("An audience with encrypted tokens must be requested alone.".into()))
            }
            _ => Ok(None),
        }
    }

    /// The longest token for any audience, in bytes.
    pub(crate) fn token_bytes_longest(&self) -> usize {
        self.token_bytes_max_by_audience.values().copied().chain([self.token_bytes_max]).max().unwrap_or_default()
    }

    fn token_bytes_max(&self, audiences: &[Audience]) -> usize {
        let of = |audience| *self.token_bytes_max_by_audience.get(audience).unwrap_or(&self.token_bytes_max);
        audiences.iter().map(of).min().unwrap_or(self.token_bytes_max)
    }
}

/// An issued token. Only [`mint`] creates one.
pub struct MintedToken {
    value: String,
    token_id: String,
    audiences: Vec<Audience>,
    scopes: Vec<Scope>,
    on_behalf: Option<Box<OnBehalf>>,
    issued_at: SystemTime,
    expires_in: Duration,
    refresh_after: Duration,
}

impl MintedToken {
    /// The token in compact form. A secret.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the token in compact form, by value.
    #[must_use]
    pub fn into_value(self) -> String {
        self.value
    }

    /// `jti`: identifies the token in logs and revocations.
    #[must_use]
    pub fn token_id(&self) -> &str {
        &self.token_id
    }

    /// `aud`.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    /// `scope`.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// The party that the token represents, if it is not the client that it was issued to.
    #[must_use]
    pub fn on_behalf(&self) -> Option<&OnBehalf> {
        self.on_behalf.as_deref()
    }

    /// The time of issue, by the issuer's clock.
    #[must_use]
    pub fn issued_at(&self) -> SystemTime {
        self.issued_at
    }

    /// The lifetime, in whole seconds.
    #[must_use]
    pub fn expires_in(&self) -> Duration {
        self.expires_in
    }

    /// The time from now after which the client should renew. Jittered, so that a fleet that started together
    /// does not renew together.
    #[must_use]
    pub fn refresh_after(&self) -> Duration {
        self.refresh_after
    }

    /// `exp`.
    #[must_use]
    pub fn expire_time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(numeric_date(self.issued_at)) + self.expires_in
    }
}

impl fmt::Debug for MintedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintedToken").field("token_id", &self.token_id).finish_non_exhaustive()
    }
}

/// Mints the token that `authorization` permits.
///
/// # Errors
///
/// [`IssueError::TokenTooLarge`] when the token, after any encryption, exceeds its maximum length.
/// `invalid_target` for audiences that cannot share a token. [`IssueError::Internal`] when the signature
/// fails.
pub fn mint(
    authorization: GrantedAccess,
    terms: &Terms,
    signer: &Signer,
    entropy: Entropy,
    now: SystemTime,
) -> Result<MintedToken, IssueError> {
    let expires_in = terms.lifetime(&authorization, now);
    let token_id = URL_SAFE_NO_PAD.encode(entropy.token_id);
    let claims = claims::Claims {
        issuer: &terms.issuer,
        authorization: &authorization,
        issued_at: numeric_date(now),
        lifetime_seconds: expires_in.as_secs(),
        token_id: &token_id,
    };
    let claims = claims.to_json().map_err(|error| IssueError::Internal(error.into()))?;
    let encryption = terms.encryption(authorization.audiences())?;
    let signed = signer.sign(claims.as_bytes()).map_err(|error| IssueError::Internal(error.into()))?;
    // Signed first, then encrypted: RFC 7519 section 11.2.
    let value = match encryption {
        None => signed,
        Some(key) => key.encrypt(&signed).map_err(|error| IssueError::Internal(error.into()))?,
    };
    let bytes_max = terms.token_bytes_max(authorization.audiences());
    if value.len() > bytes_max {
        return Err(IssueError::TokenTooLarge { bytes: value.len(), bytes_max });
    }
    let (audiences, scopes, on_behalf) = authorization.into_parts();
    Ok(MintedToken {
        value,
        token_id,
        audiences,
        scopes,
        on_behalf,
        issued_at: now,
        expires_in,
        refresh_after: refresh_after(expires_in, entropy.jitter),
    })
}

/// From 70 % to 85 % of the lifetime: late enough to be cheap, early enough to survive an outage of minutes.
fn refresh_after(lifetime: Duration, jitter: u16) -> Duration {
    let part = 0.70 + 0.15 * f64::from(jitter) / f64::from(u16::MAX);
    Duration::from_millis((lifetime.mul_f64(part)).as_millis().try_into().unwrap_or(u64::MAX))
}
