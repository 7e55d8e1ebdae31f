//! Used assertions: each is accepted once. RFC 7523 section 3, item 7.
//!
//! An assertion of the client itself is remembered until it expires, which takes minutes. One of another
//! issuer is remembered until it expires or is older than that issuer's `max_age`, which is a day at most.
//! One that the client's rule may reuse is not recorded.
//!
//! This process remembers them, and the store remembers them for every replica and across restarts. While the
//! store is unreachable, memory alone decides, because an outage must not stop the clients. In that time, an
//! assertion can be replayed at another replica, as long as it is accepted at all.
//!
//! Only valid assertions are recorded, so only a client, or a workload that is one, can fill the memory. Each
//! client has a share of it, so that one client cannot cause the rejection of another. An assertion rejected
//! here is never written to the store.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use ring::digest;
use token_interceptor::error_chain;
use tokio::time::{Instant, timeout};

use crate::{
    error::{AuthenticationFailure, Budget, IssueError},
    store::{AssertionStore, StoreError},
};

/// Assertions that are remembered, some 50 MB.
const REMEMBERED_MAX: usize = 1_000_000;
/// Assertions of one client: 1 % of the total. Of its own it may send some 30 a second at the longest
/// lifetime, and 500 at a lifetime of ten seconds. Of another issuer's it may use 10,000 within that issuer's
/// `max_age`.
const SHARE_MAX: u32 = 10_000;
/// Below this many entries, expired ones are not removed.
const SWEEP_MIN: usize = 1024;
/// The shortest time between two sweeps, so that not every rejection pays for a sweep that removes nothing.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// The time after which the store counts as unreachable.
const PATIENCE: Duration = Duration::from_secs(1);
/// The time for which the store is not asked after a failure.
const OUTAGE_MEMORY: Duration = Duration::from_secs(1);
/// The interval at which expired assertions are removed from the store.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);

/// Used assertions.
pub(super) struct Replays {
    used: Mutex<Used>,
    store: Arc<dyn AssertionStore>,
    times: Mutex<Times>,
}

/// Hash of the client ID, or of the other issuer, and of `jti`.
type Name = [u8; 32];

/// Keyed hash of a client ID.
type Owner = u64;

#[derive(Default)]
struct Used {
    /// The expiry and the client of each entry.
    entries: HashMap<Name, (SystemTime, Owner)>,
    /// The number of entries per client. A client without entries is absent.
    shares: HashMap<Owner, u32>,
    hasher: RandomState,
    /// The number of entries that triggers a sweep, so that each entry pays for its own removal.
    sweep_at: usize,
    swept: Option<SystemTime>,
    /// The number of entries that sweeps have visited.
    #[cfg(test)]
    looked_at: usize,
}

#[derive(Default)]
struct Times {
    out_of_reach: Option<Instant>,
    purged: Option<Instant>,
}

impl Replays {
    pub(super) fn new(store: Arc<dyn AssertionStore>) -> Self {
        Self { used: Mutex::default(), store, times: Mutex::default() }
    }

    /// Uses up the assertion.
    ///
    /// # Errors
    ///
    /// When it was used before. [`IssueError::RateLimited`] when the memory is full: an assertion that is not
    /// remembered could be used twice.
    pub(super) async fn use_once(
        &self,
        client_id: &str,
        token_id: &str,
        forget: SystemTime,
        now: SystemTime,
    ) -> Result<(), IssueError> {
        self.use_named(client_id, name(client_id, token_id), forget, now).await
    }

    /// The same for an assertion that another issuer has signed: its issuer and its `jti`.
    ///
    /// # Errors
    ///
    /// As [`Replays::use_once`].
    pub(super) async fn use_foreign(
        &self,
        client_id: &str,
        (issuer, token_id): (&str, &str),
        forget: SystemTime,
        now: SystemTime,
    ) -> Result<(), IssueError> {
        // No client ID begins with a zero byte, so no assertion of a client has this name.
        self.use_named(client_id, name(&format!("\0{issuer}"), token_id), forget, now).await
    }

    async fn use_named(
        &self,
        client_id: &str,
        name: Name,
        forget: SystemTime,
        now: SystemTime,
    ) -> Result<(), IssueError> {
        if !lock(&self.used).use_once(client_id, name, forget, now)? {
            return Err(used_before());
        }
        if self.is_resting() {
            return Ok(());
        }
        match self.ask_store(&name, forget, now).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(used_before()),
            // The store is reachable but was not asked. Memory must not decide here: an attacker who keeps
            // the store busy could then use assertions twice.
            Err(StoreError::Busy) => {
                lock(&self.used).forget(&name);
                Err(IssueError::Unavailable(StoreError::Busy.into()))
            }
            Err(error) => {
                lock(&self.times).out_of_reach = Some(Instant::now());
                let error = error_chain::of(&error);
                tracing::warn!(error, "the store is unreachable; only this process remembers used assertions");
                Ok(())
            }
        }
    }

    fn is_resting(&self) -> bool {
        lock(&self.times).out_of_reach.is_some_and(|since| since.elapsed() < OUTAGE_MEMORY)
    }

    async fn ask_store(&self, name: &Name, forget: SystemTime, now: SystemTime) -> Result<bool, StoreError> {
        let asked = timeout(PATIENCE, self.store.use_assertion(name, forget)).await;
        let first = asked.map_err(StoreError::unavailable)??;
        if self.purge_is_due() {
            // A failure costs only disk space.
            let _ = timeout(PATIENCE, self.store.purge_assertions(now)).await;
        }
        Ok(first)
    }

    fn purge_is_due(&self) -> bool {
        let mut times = lock(&self.times);
        let due = times.purged.is_none_or(|purged| purged.elapsed() >= PURGE_INTERVAL);
        if due {
            times.purged = Some(Instant::now());
        }
        due
    }
}

impl Used {
    /// Returns true on the first use.
    fn use_once(
        &mut self,
        client_id: &str,
        name: Name,
        forget: SystemTime,
        now: SystemTime,
    ) -> Result<bool, IssueError> {
        // Capped at the maximum: otherwise a table full of expired entries would stay full.
        if self.entries.len() >= self.sweep_at.clamp(SWEEP_MIN, REMEMBERED_MAX) && is_due(self.swept, now) {
            self.sweep(now);
        }
        if let Some((until, _)) = self.entries.get_mut(&name) {
            let first = *until <= now;
            *until = (*until).max(forget);
            return Ok(first);
        }
        let owner = self.hasher.hash_one(client_id);
        if self.is_full(owner) && is_due(self.swept, now) {
            self.sweep(now);
        }
        if self.is_full(owner) {
            return Err(IssueError::RateLimited { budget: Budget::Assertions, retry_after: Duration::from_secs(1) });
        }
        self.entries.insert(name, (forget, owner));
        *self.shares.entry(owner).or_default() += 1;
        Ok(true)
    }

    /// Returns true if no further assertion of this client can be remembered.
    fn is_full(&self, owner: Owner) -> bool {
        self.entries.len() >= REMEMBERED_MAX || self.shares.get(&owner).is_some_and(|share| *share >= SHARE_MAX)
    }

    /// Undoes a use.
    fn forget(&mut self, name: &Name) {
        if let Some((_, owner)) = self.entries.remove(name)
            && let Some(share) = self.shares.get_mut(&owner)
        {
            *share = share.saturating_sub(1);
        }
    }

    /// Removes expired entries.
    fn sweep(&mut self, now: SystemTime) {
        #[cfg(test)]
        {
            self.looked_at += self.entries.len();
        }
        let shares = &mut self.shares;
        self.entries.retain(|_, (forget, owner)| {
            let kept = *forget > now;
            if !kept && let Some(share) = shares.get_mut(owner) {
                *share = share.saturating_sub(1);
            }
            kept
        });
        shares.retain(|_, share| *share > 0);
        (self.sweep_at, self.swept) = (self.entries.len() * 2, Some(now));
    }
}

fn is_due(swept: Option<SystemTime>, now: SystemTime) -> bool {
    swept.is_none_or(|swept| now.duration_since(swept).map_or(true, |since| since >= SWEEP_PAUSE))
}

impl fmt::Debug for Replays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replays").field("remembered", &lock(&self.used).entries.len()).finish_non_exhaustive()
    }
}

const fn used_before() -> IssueError {
    IssueError::ClientAuthenticationFailed(AuthenticationFailure::AssertionRefused("it was used before"))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The key of an entry: of the client ID or the other issuer, and of `jti`. Each key has the same length, and
/// a zero byte separates the two parts.
fn name(signer: &str, token_id: &str) -> Name {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(signer.as_bytes());
    context.update(&[0]);
    context.update(token_id.as_bytes());
    context.finish().as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod faulty;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{store::Store as _, test_util::MemoryStore};

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    async fn two_replicas() -> (Arc<MemoryStore>, Replays, Replays) {
        let store = Arc::new(MemoryStore::new());
        let replica = || Replays::new(Arc::clone(&store) as _);
        (Arc::clone(&store), replica(), replica())
    }

    #[tokio::test]
    async fn a_foreign_assertion_is_used_once_by_all_clients() {
        let (_, replays, other) = two_replicas().await;
        assert!(replays.use_foreign("a", ("https://i.example", "1"), at(100), at(0)).await.is_ok());
        assert!(other.use_foreign("b", ("https://i.example", "1"), at(100), at(0)).await.is_err());
        assert!(replays.use_foreign("b", ("https://j.example", "1"), at(100), at(0)).await.is_ok());
        assert!(replays.use_once("https://i.example", "1", at(100), at(0)).await.is_ok());
    }

    #[tokio::test]
    async fn an_assertion_is_used_once_by_each_client() {
        let (_, replays, _) = two_replicas().await;
        assert!(replays.use_once("a", "1", at(100), at(0)).await.is_ok());
        assert!(replays.use_once("a", "1", at(100), at(0)).await.is_err());
        assert!(replays.use_once("a", "2", at(100), at(0)).await.is_ok());
        assert!(replays.use_once("b", "1", at(100), at(0)).await.is_ok());
    }

    #[tokio::test]
    async fn an_assertion_is_used_once_across_replicas() {
        let (_, one, other) = two_replicas().await;
        assert!(one.use_once("a", "1", at(100), at(0)).await.is_ok());
        assert!(other.use_once("a", "1", at(100), at(0)).await.is_err());
    }

    #[tokio::test]
    async fn while_the_store_is_out_of_reach_each_replica_remembers_its_own() {
        let (store, replays, _) = two_replicas().await;
        store.close().await;
        for token_id in ["1", "2"] {
            assert!(replays.use_once("a", token_id, at(100), at(0)).await.is_ok());
            assert!(replays.use_once("a", token_id, at(100), at(0)).await.is_err());
        }
    }

    /// A table in which every client has a full share.
    fn full(forget: SystemTime) -> Used {
        let mut used = Used::default();
        for number in 0..REMEMBERED_MAX {
            let mut name = [0; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            let client = format!("client-{}", number / SHARE_MAX as usize);
            assert!(used.use_once(&client, name, forget, at(0)).unwrap());
        }
        used
    }

    fn is_refused(used: Result<bool, IssueError>) -> bool {
        matches!(used, Err(IssueError::RateLimited { budget: Budget::Assertions, .. }))
    }

    #[test]
    fn beyond_what_is_remembered_assertions_are_refused() {
        let mut used = full(at(100));
        assert_eq!(used.entries.len(), REMEMBERED_MAX);
        for seconds in [0, 50, 99] {
            assert!(is_refused(used.use_once("a", name("a", "1"), at(200), at(seconds))), "{seconds}");
            assert_eq!(used.entries.len(), REMEMBERED_MAX);
        }
        assert!(used.use_once("a", name("a", "1"), at(200), at(100)).unwrap());
        assert_eq!((used.entries.len(), used.shares.len()), (1, 1));
    }

    /// Sweeps are paid for by the entries that they remove.
    #[test]
    fn an_assertion_costs_the_same_at_any_number_of_entries() {
        for entries in [1_000, 100_000] {
            let mut used = Used::default();
            let uses = 20 * entries;
            for n in 0..uses {
                // So many live entries at any time, of many clients.
                let now = (n * 60 / entries) as u64;
                let client = format!("client-{}", n % 500);
                assert!(used.use_once(&client, name("", &n.to_string()), at(now + 60), at(now)).unwrap());
            }
            assert!(used.entries.len() <= 4 * entries.max(SWEEP_MIN), "{entries}");
            assert!(used.looked_at <= 3 * uses, "{entries}: {}", used.looked_at);
        }
    }

    #[test]
    fn client_beyond_its_share_is_refused_and_no_other_client() {
        let mut used = Used::default();
        for n in 0..SHARE_MAX {
            assert!(used.use_once("a", name("a", &n.to_string()), at(100), at(0)).unwrap());
        }
        assert!(is_refused(used.use_once("a", name("a", "more"), at(100), at(5))));
        assert!(!used.use_once("a", name("a", "1"), at(100), at(5)).unwrap(), "used before, and still known");
        assert!(used.use_once("b", name("b", "1"), at(100), at(5)).unwrap());
        assert!(used.use_once("a", name("a", "more"), at(200), at(100)).unwrap(), "the others have expired");
    }

    #[tokio::test]
    async fn client_beyond_its_share_writes_nothing_to_the_store() {
        let (store, replays, other) = two_replicas().await;
        {
            let mut used = lock(&replays.used);
            for n in 0..SHARE_MAX {
                used.use_once("a", name("a", &n.to_string()), at(100), at(0)).unwrap();
            }
        }
        assert!(replays.use_once("a", "more", at(100), at(0)).await.is_err());
        assert!(store.use_assertion(&name("a", "more"), at(100)).await.unwrap(), "never seen there");
        assert!(other.use_once("b", "1", at(100), at(0)).await.is_ok());
    }

    #[tokio::test]
    async fn what_has_expired_is_forgotten_in_memory_and_in_the_store() {
        let (store, replays, _) = two_replicas().await;
        store.use_assertion(&[9; 32], at(1)).await.unwrap();
        let names = 10 * SWEEP_MIN;
        let mut used = Used::default();
        for n in 0..names {
            used.use_once("a", name("a", &n.to_string()), at(n as u64 + 10), at(n as u64)).unwrap();
        }
        assert!(used.entries.len() <= 2 * SWEEP_MIN);
        replays.use_once("a", "1", at(100), at(5)).await.unwrap();
        assert!(store.use_assertion(&[9; 32], at(1)).await.unwrap(), "purged, so it is new");
    }
}
