//! Runs key rotation: reads the stored keys, takes the steps due by [`super::rotate`], and updates the ring.
//!
//! Every replica runs the rotation. The key table is replaced by compare-and-set: if several replicas find a
//! rotation due, one succeeds and the others find it done.

mod table;
mod metrics;

use std::{
    fmt,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use token_interceptor::error_chain;
use token_interceptor::{clock::Clock, signature::Algorithm};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use self::table::{Changed, Keys, Opened};
use super::{ImportedKey, KeyRing, KeyState, PublishedKey, PublishedKeys, Schedule, SealingKeys, SigningKeyError};
use crate::{
    feed::{Event, Feed, Subscription, unreported::Unreported},
    store::{AdminRecord, ChangeKind, KeyStore, StoreError, StoredKey},
};

/// The longest sleep between two checks.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);
/// The shortest sleep between two checks, so that a failing store is not queried in a tight loop.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// The settings of the signing keys.
#[derive(Clone, Debug)]
pub struct KeySettings {
    /// The algorithms that sign, and the periods of their keys.
    pub schedule: Schedule,
    /// Keys generated elsewhere. For one algorithm, each key replaces the one listed before it.
    pub imported: Vec<ImportedKey>,
    /// Extends the schedule's retention while replicas with longer token lifetimes may have signed.
    pub lifetimes: Option<Arc<dyn TokenLifetimes>>,
}

/// The lifetimes of tokens that all replicas sign.
#[async_trait]
pub trait TokenLifetimes: fmt::Debug + Send + Sync {
    /// Returns the longest lifetime of a token that may be valid now, by any replica's configuration.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn longest(&self) -> Result<Duration, StoreError>;
}

/// The signing keys and their rotation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyRotation(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    keys: Keys,
    ring: KeyRing,
    /// Locked while keys change, so that the ring never returns to an older state.
    known: Mutex<Known>,
}

/// The keys as this process last read or wrote them.
#[derive(Debug)]
struct Known {
    stored: Vec<StoredKey>,
    /// The keys unsealed so far.
    opened: Opened,
    /// Changes by other processes that the feed has not reported.
    unreported: Unreported<()>,
}

impl KeyRotation {
    /// Reads the keys, generates or imports missing ones, and takes the steps that are due. A second start
    /// finds the keys of the first.
    ///
    /// # Errors
    ///
    /// When the store cannot be read or written, a key cannot be unsealed, or the default algorithm has no
    /// key.
    pub async fn start(
        store: Arc<dyn KeyStore>,
        sealing: SealingKeys,
        settings: KeySettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SigningKeyError> {
        let KeySettings { schedule, imported, lifetimes } = settings;
        let keys = Keys::new(store, sealing, schedule, lifetimes, clock);
        let prepare = |table: &mut Vec<StoredKey>, now| {
            keys.import(table, &imported, now)?;
            keys.reseal(table)
        };
        let Changed { table, now, .. } = keys.change(None, prepare).await?;
        let mut opened = Opened::new();
        let (signers, published) = keys.open(&table.keys, &mut opened, now)?;
        metrics::tell(&keys.schedule, &keys.sealing, &table.keys, &published);
        let ring = KeyRing::new(signers, PublishedKeys::new(published));
        let known = Known { stored: table.keys, opened, unreported: Unreported::new("keys") };
        Ok(Self(Arc::new(Shared { keys, ring, known: Mutex::new(known) })))
    }

    /// The ring of current keys.
    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        &self.0.ring
    }

    /// The clock that schedules the rotation.
    #[must_use]
    pub fn clock(&self) -> &dyn Clock {
        &*self.0.keys.clock
    }

    /// Rotates keys on schedule and applies other replicas' changes, until the feed or the rotation ends.
    pub fn follow(&self, feed: &Feed) {
        tokio::spawn(follow(Arc::downgrade(&self.0), feed.subscribe()));
    }

    /// Reads the keys again and takes the steps that are due.
    ///
    /// # Errors
    ///
    /// As [`KeyRotation::start`]. The ring is unchanged then.
    pub async fn refresh(&self) -> Result<(), SigningKeyError> {
        self.0.refresh().await.map(drop)
    }

    /// Publishes the next key of `algorithm` now; `None` selects the default. The key signs once verifiers
    /// have had time to fetch it. A repeated call returns the same key.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::AlgorithmNotConfigured`]. [`SigningKeyError::Signature`] for RSA, as RSA keys are
    /// imported. Also returns the store's errors.
    pub async fn rotate(
        &self,
        algorithm: Option<Algorithm>,
        audit: Option<&AdminRecord>,
    ) -> Result<PublishedKey, SigningKeyError> {
        let keys = &self.0.keys;
        let algorithm = algorithm.or_else(|| keys.schedule.algorithms.first().copied());
        let algorithm = algorithm
            .filter(|algorithm| keys.schedule.algorithms.contains(algorithm))
            .ok_or(SigningKeyError::AlgorithmNotConfigured)?;
        self.0.change(audit, |table, now| keys.apply(keys.schedule.advance(table, algorithm, now), table, now)).await?;
        let published = self.0.ring.published();
        let pending = |key: &&PublishedKey| key.algorithm == algorithm && key.state == KeyState::Pending;
        let next = published.keys.iter().filter(pending).min_by_key(|key| key.sign_after);
        next.cloned().ok_or(SigningKeyError::NotFound)
    }

    /// Distrusts a compromised key: every verifier rejects it from now on, and another key signs immediately.
    ///
    /// # Errors
    ///
    /// [`SigningKeyError::NotFound`]. [`SigningKeyError::LastKey`] when no key would be left to sign with.
    /// Also returns the store's errors.
    pub async fn distrust(&self, key_id: &str, audit: Option<&AdminRecord>) -> Result<(), SigningKeyError> {
        self.0
            .change(audit, |table, now| {
                let key = table.iter_mut().find(|key| key.key_id == key_id).ok_or(SigningKeyError::NotFound)?;
                key.distrust_time.get_or_insert(now);
                Ok(())
            })
            .await
            .map(drop)
    }
}

impl Shared {
    /// Takes the steps that are due. Returns the time until the next one.
    async fn refresh(&self) -> Result<Duration, SigningKeyError> {
        let now = self.change(None, |_, _| Ok(())).await?;
        let published = self.ring.published();
        let times = published.keys.iter().flat_map(|key| [Some(key.sign_after), key.verify_until]);
        let next = times.flatten().filter_map(|time| time.duration_since(now).ok()).min();
        Ok(next.map_or(LOOK_INTERVAL, |wait| wait.clamp(LOOK_INTERVAL_MIN, LOOK_INTERVAL)))
    }

    async fn change(
        &self,
        audit: Option<&AdminRecord>,
        edit: impl Fn(&mut Vec<StoredKey>, SystemTime) -> Result<(), SigningKeyError> + Send + Sync,
    ) -> Result<SystemTime, SigningKeyError> {
        let mut known = self.known.lock().await;
        let Changed { before, table, now } = self.keys.change(audit, edit).await?;
        if before != known.stored {
            known.unreported.found([()]);
        }
        let (signers, published) = self.keys.open(&table.keys, &mut known.opened, now)?;
        metrics::tell(&self.keys.schedule, &self.keys.sealing, &table.keys, &published);
        self.ring.replace(signers, published);
        known.stored = table.keys;
        Ok(now)
    }
}

async fn follow(shared: Weak<Shared>, mut events: Subscription) {
    let mut wait = LOOK_INTERVAL_MIN;
    // A change between the first read and the subscription is not reported.
    let mut reported = true;
    loop {
        tokio::select! {
            event = events.next() => match event {
                None => return,
                Some(Event::Changed(ChangeKind::Keys)) => reported = true,
                Some(Event::Resync) => {}
                Some(Event::Changed(ChangeKind::Client(_) | ChangeKind::Revocation(_)) | Event::Stale) => continue,
            },
            () = sleep(wait) => {}
        }
        let Some(shared) = shared.upgrade() else { return };
        wait = match shared.refresh().await {
            Ok(wait) => {
                metrics::refreshed("done");
                wait
            }
            Err(error) => {
                metrics::refreshed("failed");
                tracing::error!(error = %error_chain::of(&error), "signing keys cannot be refreshed; the known ones stay in use");
                LOOK_INTERVAL_MIN * 5
            }
        };
        let mut known = shared.known.lock().await;
        if std::mem::take(&mut reported) {
            known.unreported.reported(&());
        }
        if let Some(time) = known.unreported.count_at() {
            let left = time.saturating_duration_since(Instant::now());
            if left.is_zero() {
                known.unreported.count();
            } else {
                wait = wait.min(left);
            }
        }
    }
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
