//! The keys of one issuer: an immutable set, and the source of the current one.
//!
//! RFC 7517 section 5. An unusable key is skipped; a set is replaced as a whole. The verifier reads a
//! snapshot and never waits.

pub(crate) mod schedule;

mod task;

mod held;

mod live;

pub(crate) mod fetch;

pub(crate) mod remote;

pub(crate) mod pushed;

pub(crate) mod source;

use std::{collections::HashMap, fmt, sync::Arc};

pub use live::LiveKeySet;
use ring::digest;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use crate::{
    json,
    signature::{Algorithm, PublicJwk, VerifyingKey},
};

/// Keys that are tried for one token, where several match its key ID and algorithm (RFC 7517 section 4.5). A
/// set has two during a rotation. Each costs one signature check, which an attacker can cause.
const CANDIDATES_MAX: usize = 4;
/// Skipped keys whose reasons the log names, at most.
const REASONS_MAX: usize = 4;

/// An immutable set of public keys, each bound to one algorithm.
#[derive(Clone, Default)]
pub struct KeySet {
    /// By `kid`. Several keys may share one.
    by_id: HashMap<String, Vec<Arc<VerifyingKey>>>,
    /// Keys without `kid`: found only by tokens without `kid`.
    anonymous: Vec<Arc<VerifyingKey>>,
    skipped: usize,
    /// The reasons of the first few skipped keys.
    reasons: Vec<String>,
    /// The content, to tell if a fetched set differs.
    content: Vec<u8>,
}

/// The keys that may have signed a token: one at least, [`CANDIDATES_MAX`] at most.
pub(crate) struct Candidates([Option<Arc<VerifyingKey>>; CANDIDATES_MAX]);

impl Candidates {
    fn of<'a>(keys: impl Iterator<Item = &'a Arc<VerifyingKey>>) -> Option<Self> {
        let mut candidates: [Option<Arc<VerifyingKey>>; CANDIDATES_MAX] = [const { None }; CANDIDATES_MAX];
        for (place, key) in candidates.iter_mut().zip(keys) {
            *place = Some(Arc::clone(key));
        }
        candidates.iter().any(Option::is_some).then_some(Self(candidates))
    }

    /// Returns the key that made `signature` over `message`.
    pub(crate) fn verifying(self, message: &[u8], signature: &[u8]) -> Option<Arc<VerifyingKey>> {
        self.0.into_iter().flatten().find(|key| key.verifies(message, signature))
    }
}

/// The result of a search by a token's `kid` and `alg`.
pub(crate) enum Found {
    Keys(Candidates),
    /// The key exists, for another algorithm.
    OtherAlgorithm,
    Absent,
}

/// The error of a document that is no key set.
#[derive(Debug, thiserror::Error)]
#[error("not a JWK Set (RFC 7517 section 5)")]
pub struct KeySetError(#[from] serde_json::Error);

/// The rules for the members of a document of keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Format {
    /// RFC 7517 section 5.
    JwkSet,
    /// SPIFFE Trust Domain and Bundle, section 4.
    SpiffeBundle,
}

impl Format {
    pub(crate) fn read(self, document: &[u8]) -> Result<KeySet, KeySetError> {
        Ok(KeySet::read(jwks(document)?, self))
    }

    /// Brings the JWK of a bundle into the form of RFC 7517, whose `use` knows no `jwt-svid`.
    fn check(self, jwk: &mut Map<String, Value>) -> Result<(), &'static str> {
        match self {
            Self::JwkSet => return Ok(()),
            Self::SpiffeBundle => {}
        }
        if jwk.get("use").and_then(Value::as_str) != Some("jwt-svid") {
            return Err("its use is not jwt-svid");
        }
        if jwk.get("kid").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err("it has no kid");
        }
        jwk.insert("use".to_owned(), "sig".into());
        Ok(())
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Returns the keys of a JWK Set, each in its JSON, usable or not.
///
/// # Errors
///
/// Returns an error if the document is not a JSON object with an array `keys`.
pub fn jwks(document: &[u8]) -> Result<impl Iterator<Item = &str>, KeySetError> {
    let document: Document<'_> = json::from_object(document)?;
    Ok(document.keys.into_iter().map(RawValue::get))
}

impl KeySet {
    /// Reads a JWK Set. Skips every key that is not a public signing key of a known algorithm: symmetric,
    /// private, for encryption, of an unknown kind, weak, or malformed.
    ///
    /// # Errors
    ///
    /// Returns an error if the document is not a JSON object with an array `keys`.
    pub fn from_jwks(document: &[u8]) -> Result<Self, KeySetError> {
        Ok(Self::from_jwks_one_by_one(jwks(document)?))
    }

    /// Reads the bundle of a SPIFFE trust domain: SPIFFE Trust Domain and Bundle, section 4. Only its keys
    /// with `use: jwt-svid` and a `kid` count. Those of X.509-SVIDs are skipped, as is what
    /// [`KeySet::from_jwks`] skips.
    ///
    /// # Errors
    ///
    /// As [`KeySet::from_jwks`].
    pub fn from_spiffe_bundle(document: &[u8]) -> Result<Self, KeySetError> {
        Ok(Self::read(jwks(document)?, Format::SpiffeBundle))
    }

    /// Reads public JWKs, each in its JSON. Unusable ones are skipped, as by [`KeySet::from_jwks`].
    pub fn from_jwks_one_by_one<'a>(jwks: impl IntoIterator<Item = &'a str>) -> Self {
        Self::read(jwks, Format::JwkSet)
    }

    fn read<'a>(jwks: impl IntoIterator<Item = &'a str>, format: Format) -> Self {
        let mut jwks: Vec<&str> = jwks.into_iter().collect();
        jwks.sort_unstable();
        let keys = jwks.iter().map(|jwk| {
            let mut members = json::object(jwk.as_bytes()).map_err(|error| error.to_string())?;
            format.check(&mut members)?;
            VerifyingKey::from_jwk(&members).map_err(|error| error.to_string())
        });
        let mut set = Self::of(keys);
        set.content = content(jwks.iter().copied());
        set
    }

    /// Takes over public keys that this program holds. Unusable ones are skipped, as by
    /// [`KeySet::from_jwks`].
    pub fn from_public<'a>(jwks: impl IntoIterator<Item = &'a PublicJwk>) -> Self {
        let jwks: Vec<&PublicJwk> = jwks.into_iter().collect();
        let mut set = Self::of(jwks.iter().map(|jwk| jwk.verifying_key().map_err(|error| error.to_string())));
        let mut written: Vec<String> = jwks.iter().map(|jwk| jwk.to_json()).collect();
        written.sort_unstable();
        set.content = content(written.iter().map(String::as_str));
        set
    }

    fn of(keys: impl Iterator<Item = Result<VerifyingKey, String>>) -> Self {
        let mut set = Self::default();
        for key in keys {
            match key {
                Ok(key) => set.insert(key),
                Err(error) => {
                    tracing::debug!(error, "a key of the set is skipped");
                    set.skipped += 1;
                    if set.reasons.len() < REASONS_MAX && !set.reasons.contains(&error) {
                        set.reasons.push(error);
                    }
                }
            }
        }
        set
    }

    fn insert(&mut self, key: VerifyingKey) {
        let key = Arc::new(key);
        match key.key_id() {
            Some(key_id) => self.by_id.entry(key_id.to_owned()).or_default().push(key),
            None => self.anonymous.push(key),
        }
    }

    /// Returns true if both were read from the same keys, in any order.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.content == other.content
    }

    /// Returns the number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys().count()
    }

    /// Returns true if no key is usable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty() && self.anonymous.is_empty()
    }

    /// Returns the number of the document's unusable keys.
    #[must_use]
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// Returns the reasons of unusable keys, for the log.
    pub(crate) fn reasons(&self) -> String {
        self.reasons.join("; ")
    }

    /// Returns the keys that may have signed a token: those of its `kid` and algorithm, or without `kid`,
    /// those of its algorithm. Each key verifies one algorithm alone, so the token's header chooses nothing.
    pub(crate) fn find(&self, key_id: Option<&str>, algorithm: Algorithm) -> Found {
        let fits = |key: &&Arc<VerifyingKey>| key.algorithm() == algorithm;
        let Some(key_id) = key_id else {
            return Candidates::of(self.keys().filter(fits)).map_or(Found::Absent, Found::Keys);
        };
        let Some(keys) = self.by_id.get(key_id) else { return Found::Absent };
        Candidates::of(keys.iter().filter(fits)).map_or(Found::OtherAlgorithm, Found::Keys)
    }

    /// Returns true if the set contains `key`.
    pub(crate) fn holds(&self, key: &Arc<VerifyingKey>) -> bool {
        let held = key.key_id().map_or(Some(&self.anonymous), |key_id| self.by_id.get(key_id));
        held.is_some_and(|held| held.iter().any(|held| Arc::ptr_eq(held, key) || held == key))
    }

    /// Returns the usable keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<VerifyingKey>> {
        self.by_id.values().flatten().chain(&self.anonymous)
    }
}

/// Returns the hash of sorted JWKs.
fn content<'a>(jwks: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut content = digest::Context::new(&digest::SHA256);
    for jwk in jwks {
        content.update(&jwk.len().to_be_bytes());
        content.update(jwk.as_bytes());
    }
    content.finish().as_ref().to_vec()
}

/// Key IDs are public but long, so their number is printed.
impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.len()).field("skipped", &self.skipped).finish()
    }
}
