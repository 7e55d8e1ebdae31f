//! The comparison of the revocations in memory with those in the store.
//!
//! It runs at each resync, and the feed sends one at an interval. Revocations that are only in the store are
//! added to memory. Revocations that are only in memory were lost by the store, in a failover or a restore.
//! They stay in force here, and recent ones are stored again.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, SystemTime},
};

use metrics::counter;
use token_interceptor::error_chain;
use token_interceptor::{
    clock::numeric_date,
    revocation::{Revoked, TargetHash},
};
use tokio::time::Instant;

use super::{Shared, entry, list};
use crate::store::{Revocation, StoreError, answered, answered_within};

/// The time limit of a read of all revocations. A database ends a statement after five seconds, and the rows
/// take a while to arrive.
const READ_TIME_MAX: Duration = Duration::from_secs(10);
/// Entries that expire within this time are not compared: another clock may have removed them already.
const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(300);
/// The age up to which a revocation can be stored again. A failover loses only the latest transactions.
const RECENT: Duration = Duration::from_secs(1800);
/// The number of revocations that can be stored again: some megabytes.
const RECENT_MAX: usize = 10_000;

/// The latest revocations in full. The list itself holds only hashes.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Instant, Revocation)>);

impl Recent {
    pub(super) fn add(&mut self, revocation: Revocation) {
        let now = Instant::now();
        let expired = |(added, _): &(Instant, Revocation)| now.duration_since(*added) > RECENT;
        while self.0.len() >= RECENT_MAX || self.0.front().is_some_and(expired) {
            self.0.pop_front();
        }
        self.0.push_back((now, revocation));
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn among(&self, targets: &HashSet<TargetHash>) -> Vec<Revocation> {
        let recent = self.0.iter().map(|(_, revocation)| revocation);
        recent.filter(|revocation| targets.contains(&entry(revocation).target)).cloned().collect()
    }
}

impl Shared {
    /// Adds the revocations of the store to memory. Returns those that were not there.
    pub(super) async fn read_all(&self) -> Result<Vec<TargetHash>, StoreError> {
        let stored = self.stored(self.clock.now()).await?;
        Ok(self.add(stored))
    }

    /// The same, and stores again what the store has lost.
    pub(super) async fn compare(&self) -> Result<Vec<TargetHash>, StoreError> {
        let now = self.clock.now();
        // Every revocation in memory was stored before, so the read that follows must find it.
        let (digest, end) = {
            let list = self.list();
            (list.digest(now + CLOCKS_DIFFER_MAX), list.end())
        };
        let stored = self.stored(now).await?;
        let entries: HashMap<TargetHash, Revoked> =
            stored.iter().map(entry).map(|revoked| (revoked.target, revoked)).collect();
        let new = self.add(stored);
        let lost = if list::digest(entries.values(), now + CLOCKS_DIFFER_MAX) == digest {
            HashSet::new()
        } else {
            self.list().missing_from(&entries, end, numeric_date(now + CLOCKS_DIFFER_MAX))
        };
        self.store_again(lost).await?;
        Ok(new)
    }

    async fn stored(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        answered_within(READ_TIME_MAX, self.store.revocations(now)).await
    }

    /// Counts what was not known to be lost, and stores it again as far as possible.
    async fn store_again(&self, lost: HashSet<TargetHash>) -> Result<(), StoreError> {
        let (new, recent) = {
            let mut known = self.lost();
            let new = lost.difference(&known).count();
            let recent = self.recent().among(&lost);
            *known = lost;
            (new, recent)
        };
        if new > 0 {
            counter!("token_server_store_differences_total", "kind" => "revocation")
                .increment(u64::try_from(new).unwrap_or(u64::MAX));
            tracing::error!(
                lost = new,
                to_be_stored_again = recent.len(),
                "the store has lost revocations; they stay in force in this process, and it stores recent ones again"
            );
        }
        for revocation in &recent {
            answered(self.store.revoke(revocation, None)).await?;
        }
        Ok(())
    }

    /// Removes what has expired, from memory and from the store.
    pub(super) async fn purge(&self, now: SystemTime) {
        self.verifying.forget(now);
        self.list().purge(now);
        if let Err(error) = answered_within(READ_TIME_MAX, self.store.purge_revocations(now)).await {
            tracing::warn!(error = %error_chain::of(&error), "expired revocations cannot be removed");
        }
        let Some(configured) = self.configured_lifetime() else { return };
        if let Err(error) = answered(self.store.longest_lifetime(configured, now)).await {
            tracing::warn!(error = %error_chain::of(&error), "the longest lifetime of tokens cannot be noted");
        }
    }
}
