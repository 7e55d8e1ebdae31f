//! The stored keys: changes by compare-and-set, unsealing and checks.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use token_interceptor::error_chain;
use token_interceptor::{
    clock::Clock,
    signature::{Algorithm, SigningKey},
    verify::LEEWAY_MAX,
};

use crate::{
    key::{
        ImportedKey, PublishedKey, Schedule, SealingKeys, Signer, SigningKeyError,
        ring::Signers,
        rotate::{CLOCKS_DIFFER_MAX, Step},
    },
    store::{AdminRecord, KeyStore, KeyTable, StoreError, StoredKey, answered},
    timestamp,
};

use super::{TokenLifetimes, metrics};

/// The number of attempts at a change when another replica was faster.
const ATTEMPTS: u32 = 8;

/// The keys opened so far, by their ID.
pub(super) type Opened = HashMap<String, Arc<Signer>>;

/// The outcome of a change to the stored keys.
pub(super) struct Changed {
    /// The table before the change.
    pub(super) before: Vec<StoredKey>,
    pub(super) table: KeyTable,
    pub(super) now: SystemTime,
}

/// The dependencies of every change to the stored keys.
pub(super) struct Keys {
    pub(super) store: Arc<dyn KeyStore>,
    pub(super) sealing: SealingKeys,
    /// The schedule. Its retention is the minimum; see [`Keys::retention`].
    pub(super) schedule: Schedule,
    lifetimes: Option<Arc<dyn TokenLifetimes>>,
    /// The required retention, as last read.
    retention: Mutex<Duration>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Keys {
    pub(super) fn new(
        store: Arc<dyn KeyStore>,
        sealing: SealingKeys,
        schedule: Schedule,
        lifetimes: Option<Arc<dyn TokenLifetimes>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let retention = Mutex::new(schedule.retention);
        Self { store, sealing, schedule, lifetimes, retention, clock }
    }

    /// Returns the schedule with the currently required retention.
    fn schedule(&self) -> Schedule {
        let retention = *self.retention.lock().unwrap_or_else(PoisonError::into_inner);
        Schedule { retention: retention.max(self.schedule.retention), ..self.schedule.clone() }
    }

    /// Reads the retention again: a replica that started since may sign tokens with a longer lifetime.
    /// Returns false if it cannot be read. No key may be removed then.
    async fn read_retention(&self) -> bool {
        let Some(lifetimes) = &self.lifetimes else { return true };
        match answered(lifetimes.longest()).await {
            Ok(longest) => {
                *self.retention.lock().unwrap_or_else(PoisonError::into_inner) = longest + LEEWAY_MAX;
                true
            }
            Err(error) => {
                tracing::warn!(error = %error_chain::of(&error), "the longest token lifetime cannot be read; no signing key is removed");
                false
            }
        }
    }

    /// Applies `edit` and the due steps to the stored table. Retries when another replica was faster.
    pub(super) async fn change(
        &self,
        audit: Option<&AdminRecord>,
        edit: impl Fn(&mut Vec<StoredKey>, SystemTime) -> Result<(), SigningKeyError> + Send + Sync,
    ) -> Result<Changed, SigningKeyError> {
        let may_remove = self.read_retention().await;
        for _ in 0..ATTEMPTS {
            let mut table = answered(self.store.keys()).await?;
            let before = table.keys.clone();
            let (now, clocks_agree) = self.time().await?;
            edit(&mut table.keys, now)?;
            for step in self.schedule().due(&table.keys, now) {
                // A removal cannot be undone, and others may still sign with that key.
                if (clocks_agree && may_remove) || !matches!(step, Step::Remove { .. }) {
                    self.apply(step, &mut table.keys, now)?;
                }
            }
            self.expect_default(&table.keys, now)?;
            if table.keys == before {
                return Ok(Changed { before, table, now });
            }
            table.keys.sort_by(|a, b| a.key_id.cmp(&b.key_id));
            let automatic = automatic_record(&before, &table.keys, now);
            let record = audit.map_or_else(|| automatic.clone(), |asked| asked_for(asked, &automatic));
            match answered(self.store.replace_keys(&table, Some(&record))).await {
                Ok(version) => {
                    tracing::info!(change = automatic.detail, "signing keys changed");
                    return Ok(Changed { before, table: KeyTable { version, ..table }, now });
                }
                Err(StoreError::RevisionMismatch) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::RevisionMismatch.into())
    }

    /// Returns the time that decides about keys: the store's, which all replicas share, if the store has a
    /// clock. A replica whose own clock has jumped must neither stop the rotation nor remove a key in use.
    /// Also returns true if the two clocks agree.
    async fn time(&self) -> Result<(SystemTime, bool), SigningKeyError> {
        let own = timestamp::stored(self.clock.now());
        let Some(shared) = answered(self.store.time()).await? else { return Ok((own, true)) };
        let difference = own.duration_since(shared).unwrap_or_else(|behind| behind.duration());
        metrics::clocks(difference);
        let agree = difference <= CLOCKS_DIFFER_MAX;
        if !agree {
            tracing::error!(?difference, "this machine's clock and the database's differ; no signing key is removed");
        }
        Ok((timestamp::stored(shared), agree))
    }

    pub(super) fn apply(&self, step: Step, table: &mut Vec<StoredKey>, now: SystemTime) -> Result<(), SigningKeyError> {
        match step {
            Step::Generate { algorithm, sign_after } => {
                let der = SigningKey::generate_pkcs8(algorithm)?;
                table.push(self.stored(algorithm, &der, now, sign_after)?);
            }
            Step::Promote { key_id, sign_after } => {
                for key in table.iter_mut().filter(|key| key.key_id == key_id) {
                    key.sign_after = sign_after;
                }
            }
            Step::Remove { key_id } => table.retain(|key| key.key_id != key_id),
        }
        Ok(())
    }

    /// Adds the missing keys in the order of their listing. Each replaces the one before it.
    pub(super) fn import(
        &self,
        table: &mut Vec<StoredKey>,
        imported: &[ImportedKey],
        now: SystemTime,
    ) -> Result<(), SigningKeyError> {
        for import in imported {
            let sign_after = self.schedule.import_time(table, import.algorithm, now);
            let key = self.stored(import.algorithm, &import.der, now, sign_after)?;
            match table.iter().find(|known| known.key_id == key.key_id) {
                None => table.push(StoredKey { imported: true, ..key }),
                Some(known) if known.algorithm == key.algorithm => {}
                // RFC 8725 section 3.1, and the seal, bind a key to its algorithm.
                Some(_) => return Err(SigningKeyError::Reused { key_id: key.key_id }),
            }
        }
        Ok(())
    }

    fn stored(
        &self,
        algorithm: Algorithm,
        der: &[u8],
        create_time: SystemTime,
        sign_after: SystemTime,
    ) -> Result<StoredKey, SigningKeyError> {
        let key_id = SigningKey::from_der(algorithm, der)?.public_jwk().key_id().to_owned();
        let sealed = self.sealing.seal(&key_id, algorithm, der)?;
        Ok(StoredKey { key_id, algorithm, create_time, sign_after, distrust_time: None, imported: false, sealed })
    }

    /// Seals again, under the current sealing key, the keys that are still under an older one, so that the
    /// older one can be dropped. This runs only at the start. During a change of the sealing key, replicas
    /// disagree on the current one, and would undo each other's work.
    pub(super) fn reseal(&self, table: &mut [StoredKey]) -> Result<(), SigningKeyError> {
        for key in table.iter_mut().filter(|key| key.sealed.sealing_key_id != self.sealing.current_id()) {
            let der = self.sealing.open(&key.key_id, key.algorithm, &key.sealed)?;
            key.sealed = self.sealing.seal(&key.key_id, key.algorithm, &der)?;
        }
        Ok(())
    }

    fn expect_default(&self, table: &[StoredKey], now: SystemTime) -> Result<(), SigningKeyError> {
        let default = self.schedule.algorithms.first().ok_or(SigningKeyError::AlgorithmNotConfigured)?;
        self.schedule.active(table, *default, now).map(drop).ok_or(SigningKeyError::LastKey)
    }

    /// Opens the keys. Only opened keys are published, and each ID is computed from its key. An attacker who
    /// can write to the store therefore cannot get a key published.
    pub(super) fn open(
        &self,
        table: &[StoredKey],
        opened: &mut Opened,
        now: SystemTime,
    ) -> Result<(Signers, Vec<PublishedKey>), SigningKeyError> {
        opened.retain(|key_id, _| table.iter().any(|key| key.key_id == *key_id));
        let mut published = Vec::new();
        let schedule = self.schedule();
        for key in table {
            let place = schedule.place(table, key, now);
            if place.verify_until.is_none_or(|until| now < until) {
                let signer = self.signer(key, opened)?;
                published.push(PublishedKey {
                    algorithm: key.algorithm,
                    jwk: signer.public_jwk().clone(),
                    state: place.state,
                    sign_after: key.sign_after,
                    verify_until: place.verify_until,
                });
            }
        }
        published.sort_by_key(|key| (self.rank(key.algorithm), key.sign_after));
        let active = |algorithm: &Algorithm| {
            let key = self.schedule.active(table, *algorithm, now)?;
            opened.get(&key.key_id).map(Arc::clone)
        };
        let mut signers = self.schedule.algorithms.iter().map(active);
        let default = signers.next().flatten().ok_or(SigningKeyError::LastKey)?;
        Ok((Signers { default, others: signers.flatten().collect() }, published))
    }

    fn signer(&self, key: &StoredKey, opened: &mut Opened) -> Result<Arc<Signer>, SigningKeyError> {
        if let Some(signer) = opened.get(&key.key_id).filter(|signer| signer.algorithm() == key.algorithm) {
            return Ok(Arc::clone(signer));
        }
        let der = self.sealing.open(&key.key_id, key.algorithm, &key.sealed)?;
        let signer = Arc::new(Signer::new(SigningKey::from_der(key.algorithm, &der)?));
        if signer.key_id() != key.key_id {
            return Err(SigningKeyError::SealBroken { key_id: key.key_id.clone() });
        }
        opened.insert(key.key_id.clone(), Arc::clone(&signer));
        Ok(signer)
    }

    /// The default algorithm's keys come first in the key set.
    fn rank(&self, algorithm: Algorithm) -> usize {
        let algorithms = &self.schedule.algorithms;
        algorithms.iter().position(|known| *known == algorithm).unwrap_or(algorithms.len())
    }
}

/// The admin audit record of an automatic change.
fn automatic_record(before: &[StoredKey], after: &[StoredKey], now: SystemTime) -> AdminRecord {
    let ids = |these: &[StoredKey], those: &[StoredKey]| {
        let new = these.iter().filter(|key| those.iter().all(|other| other.key_id != key.key_id));
        new.map(|key| key.key_id.as_str()).collect::<Vec<_>>().join(" ")
    };
    let (added, removed) = (ids(after, before), ids(before, after));
    let anew = after.iter().filter(|key| before.iter().any(|old| old.key_id == key.key_id && old.sealed != key.sealed));
    let anew = anew.map(|key| key.key_id.as_str()).collect::<Vec<_>>().join(" ");
    let distrusted = |key: &&StoredKey| {
        let before = before.iter().find(|old| old.key_id == key.key_id);
        key.distrust_time.is_some() && before.is_some_and(|old| old.distrust_time.is_none())
    };
    let distrusted = after.iter().filter(distrusted).map(|key| key.key_id.as_str()).collect::<Vec<_>>().join(" ");
    let parts = [("added", &added), ("removed", &removed), ("distrusted", &distrusted), ("sealed anew", &anew)];
    let parts = parts.iter().filter(|(_, ids)| !ids.is_empty()).map(|(what, ids)| format!("{what} [{ids}]"));
    AdminRecord {
        time: now,
        actor: "token-server".to_owned(),
        action: "RotateSigningKey".to_owned(),
        resource: added.clone(),
        request_id: None,
        detail: parts.collect::<Vec<_>>().join(" "),
        subject: None,
        act: None,
        revokes: None,
    }
}

/// Returns the record of an operator's change, with the keys that it added, removed or distrusted.
fn asked_for(asked: &AdminRecord, automatic: &AdminRecord) -> AdminRecord {
    // The operator names an algorithm; the record names the key.
    let rotated = asked.action == automatic.action && !automatic.resource.is_empty();
    let resource = if rotated { &automatic.resource } else { &asked.resource };
    AdminRecord { resource: resource.clone(), detail: automatic.detail.clone(), ..asked.clone() }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("sealing", &self.sealing).field("schedule", &self.schedule).finish_non_exhaustive()
    }
}
