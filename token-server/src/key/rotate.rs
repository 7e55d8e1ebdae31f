//! Rotation, as questions on the stored keys and the time: nothing here waits, stores or generates.
//!
//! A key's state is not stored, it follows from the times: of an algorithm's keys the one with the latest
//! `sign_after` that has passed signs. So every replica changes over at the same moment without talking, and
//! a replica that slept through it is right when it wakes.

use std::time::{Duration, SystemTime};

use token_interceptor::signature::Algorithm;

use super::KeyState;
use crate::store::StoredKey;

/// How long keys are published, sign and are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The algorithms that sign; the first is the default.
    pub algorithms: Vec<Algorithm>,
    /// How long a key signs.
    pub period: Duration,
    /// How long a key is published before it signs: longer than any verifier keeps a key set.
    pub visibility: Duration,
    /// How long a key is kept after it has stopped signing: the greatest lifetime of a token, and the
    /// clocks' disagreement.
    pub retention: Duration,
}

/// One step of a rotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new key, to sign from `sign_after` on.
    Generate {
        /// The algorithm.
        algorithm: Algorithm,
        /// From when on.
        sign_after: SystemTime,
    },
    /// A key that is there already, to sign from `sign_after` on.
    Promote {
        /// Which.
        key_id: String,
        /// From when on.
        sign_after: SystemTime,
    },
    /// A key whose last token has expired.
    Remove {
        /// Which.
        key_id: String,
    },
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its state.
    pub state: KeyState,
    /// When its last token has expired; known once it no longer signs.
    pub verify_until: Option<SystemTime>,
}

impl Schedule {
    /// Where `key` stands among `keys`.
    #[must_use]
    pub fn place(&self, keys: &[StoredKey], key: &StoredKey, now: SystemTime) -> Place {
        let retiring =
            |stopped: SystemTime| Place { state: KeyState::Retiring, verify_until: Some(stopped + self.retention) };
        if let Some(distrusted) = key.distrust_time {
            return Place { state: KeyState::Distrusted, verify_until: Some(distrusted + self.retention) };
        }
        if now < key.sign_after {
            return Place { state: KeyState::Pending, verify_until: None };
        }
        match successor(keys, key) {
            Some(next) if next.sign_after <= now => retiring(next.sign_after),
            Some(_) | None if self.algorithms.contains(&key.algorithm) => {
                Place { state: KeyState::Active, verify_until: None }
            }
            // No longer configured. It could have signed until it was due: nobody noted when it stopped.
            Some(_) | None => retiring(key.sign_after + self.period),
        }
    }

    /// The key that signs with `algorithm`.
    #[must_use]
    pub fn active<'a>(&self, keys: &'a [StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<&'a StoredKey> {
        keys.iter().find(|key| key.algorithm == algorithm && self.place(keys, key, now).state == KeyState::Active)
    }

    /// What is due at `now`. Nothing is due again once it has been done.
    #[must_use]
    pub fn due(&self, keys: &[StoredKey], now: SystemTime) -> Vec<Step> {
        let additions = self.algorithms.iter().filter_map(|algorithm| self.addition(keys, *algorithm, now));
        let removals = keys.iter().filter_map(|key| {
            let gone = self.place(keys, key, now).verify_until.is_some_and(|until| until <= now);
            gone.then(|| Step::Remove { key_id: key.key_id.clone() })
        });
        additions.chain(removals).collect()
    }

    fn addition(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<Step> {
        let pending = pending(keys, algorithm, now);
        match (self.active(keys, algorithm, now), pending) {
            (Some(active), None) => {
                let due = active.sign_after + self.period;
                // An imported key signs until the operator imports another.
                (generates(algorithm) && due <= now + self.visibility)
                    .then(|| Step::Generate { algorithm, sign_after: due.max(now + self.visibility) })
            }
            (Some(_), Some(_)) => None,
            // Nothing to sign with: the first start, or the active key was distrusted.
            (None, Some(next)) => Some(Step::Promote { key_id: next.key_id.clone(), sign_after: now }),
            (None, None) => generates(algorithm).then_some(Step::Generate { algorithm, sign_after: now }),
        }
    }

    /// What it takes to have the next key of `algorithm` sign as soon as verifiers have had time to see it.
    #[must_use]
    pub fn advance(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Step {
        match pending(keys, algorithm, now) {
            Some(next) => Step::Promote {
                key_id: next.key_id.clone(),
                sign_after: next.sign_after.min((next.create_time + self.visibility).max(now)),
            },
            None => Step::Generate { algorithm, sign_after: now + self.visibility },
        }
    }

    /// When a key that is added at `now` from outside begins to sign: at once where there is none.
    #[must_use]
    pub fn import_time(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> SystemTime {
        if self.active(keys, algorithm, now).is_some() { now + self.visibility } else { now }
    }

    /// The next time after `now` at which a key changes its state or something falls due.
    #[must_use]
    pub fn next_event(&self, keys: &[StoredKey], now: SystemTime) -> Option<SystemTime> {
        keys.iter()
            .flat_map(|key| {
                let place = self.place(keys, key, now);
                let begins = Some(key.sign_after);
                let ends = (place.state == KeyState::Active && generates(key.algorithm))
                    .then(|| (key.sign_after + self.period).checked_sub(self.visibility))
                    .flatten();
                [begins, ends, place.verify_until]
            })
            .flatten()
            .filter(|time| *time > now)
            .min()
    }
}

/// Whether keys of `algorithm` can be made here; RSA keys are imported.
#[must_use]
pub fn generates(algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => true,
        Algorithm::Rs256 | Algorithm::Ps256 => false,
    }
}

/// The key that takes over from `key`.
fn successor<'a>(keys: &'a [StoredKey], key: &StoredKey) -> Option<&'a StoredKey> {
    trusted(keys, key.algorithm).filter(|other| order(other) > order(key)).min_by_key(|other| order(other))
}

/// The next key that has not signed yet.
fn pending(keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<&StoredKey> {
    trusted(keys, algorithm).filter(|key| now < key.sign_after).min_by_key(|key| order(key))
}

fn trusted(keys: &[StoredKey], algorithm: Algorithm) -> impl Iterator<Item = &StoredKey> {
    keys.iter().filter(move |key| key.algorithm == algorithm && key.distrust_time.is_none())
}

/// Two keys may begin at the same moment; all replicas must still agree on which one signs.
fn order(key: &StoredKey) -> (SystemTime, &str) {
    (key.sign_after, &key.key_id)
}
