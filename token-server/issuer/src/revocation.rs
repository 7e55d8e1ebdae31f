//! Revocations, in memory: every check needs all of them, and each expires.
//!
//! A revocation is stored first. It then takes effect in this process at once, and in every other process
//! within a second through the change feed. Issuing a token writes nothing (RFC 7009). Adding a revocation
//! costs the same for any number of them.

mod comparison;
mod list;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use token_interceptor::error_chain;
use token_interceptor::{
    clock::Clock,
    revocation::{Addition, Revocations, Revoked, TargetHash},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub use list::{Part, Position};

use crate::{
    client::ClientId,
    feed::{
        Event, Feed, Subscription,
        unreported::{Unreported, wait_until},
    },
    store::{AdminRecord, ChangeKind, Revocation, RevocationStore, RevocationTarget, StoreError, answered},
};
use comparison::Recent;
use list::List;

/// The interval between removals of expired entries, from memory and from the store.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// The pause after a failed read.
const RETRY: Duration = Duration::from_secs(1);

/// The revocations of this issuer. Cheap to clone; every clone shares them.
#[derive(Clone, Debug)]
pub struct RevocationRegistry(Arc<Shared>);

struct Shared {
    store: Arc<dyn RevocationStore>,
    clock: Arc<dyn Clock>,
    /// The revocations in the order in which they became known, for followers.
    list: Mutex<List>,
    end: watch::Sender<Position>,
    /// The same revocations, in the form of this project's verifier.
    verifying: Revocations,
    /// The longest lifetime of tokens by this process's configuration, in milliseconds; 0 before it is known.
    configured_lifetime: AtomicU64,
    /// Revocations that can be stored again if the store loses them.
    recent: Mutex<Recent>,
    /// Revocations that the store has lost and that could not be stored again.
    lost: Mutex<HashSet<TargetHash>>,
}

impl RevocationRegistry {
    /// Reads the revocations.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. A server that does not know the revocations must not accept tokens.
    pub async fn start(store: Arc<dyn RevocationStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let shared = Shared {
            store,
            clock,
            list: Mutex::default(),
            end: watch::Sender::default(),
            verifying: Revocations::new(),
            configured_lifetime: AtomicU64::new(0),
            recent: Mutex::default(),
            lost: Mutex::default(),
        };
        let registry = Self(Arc::new(shared));
        registry.0.read_all().await?;
        Ok(registry)
    }

    /// Applies other processes' revocations and removes expired ones, until the feed or the registry ends.
    pub fn follow(&self, feed: &Feed) {
        tokio::spawn(follow(Arc::downgrade(&self.0), feed.subscribe()));
    }

    /// Stores a revocation. It is in effect in this process when this returns.
    ///
    /// # Errors
    ///
    /// The errors of the store. Nothing is revoked then.
    pub async fn revoke(&self, revocation: Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.0.store.revoke(&revocation, audit).await?;
        self.0.add([revocation]);
        Ok(())
    }

    /// Returns the longest lifetime of a token that may be valid now, issued by any process under any
    /// configuration. `configured` is the longest lifetime of this process's own configuration. It is stored
    /// from now on.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn longest_lifetime(&self, configured: Duration) -> Result<Duration, StoreError> {
        let millis = u64::try_from(configured.as_millis()).unwrap_or(u64::MAX);
        self.0.configured_lifetime.store(millis, Ordering::Release);
        self.0.store.longest_lifetime(configured, self.0.clock.now()).await
    }

    /// Applies a revocation that was stored as part of another change. It is in effect when this returns.
    pub(crate) fn stored(&self, revocation: Revocation) {
        self.0.add([revocation]);
    }

    /// Returns the number of unexpired single tokens of the client that are revoked.
    #[must_use]
    pub fn tokens_of(&self, client: &ClientId) -> usize {
        self.0.list().tokens_of(client, self.0.clock.now())
    }

    /// Returns at most `entries_max` revocations from `position` on.
    pub fn read(&self, position: Position, entries_max: usize) -> Part {
        self.0.list().read(position, entries_max, self.0.clock.now())
    }

    /// Subscribes to the end of the list of revocations.
    pub fn subscribe(&self) -> watch::Receiver<Position> {
        self.0.end.subscribe()
    }

    /// Returns a number that is equal in processes that know the same revocations.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.0.list().digest(self.0.clock.now())
    }

    /// The revocations for a verifier in this process.
    #[must_use]
    pub fn verifying(&self) -> &Revocations {
        &self.0.verifying
    }
}

impl Shared {
    async fn read(&self, target: &RevocationTarget) -> Result<(), StoreError> {
        let revocation = answered(self.store.revocation(target)).await?;
        self.add(revocation);
        Ok(())
    }

    /// Adds and extends entries, and never removes one: nothing revoked becomes valid again. Returns the
    /// targets that were not revoked before, or were revoked to a lesser extent.
    fn add(&self, revocations: impl IntoIterator<Item = Revocation>) -> Vec<TargetHash> {
        let mut changed = Vec::new();
        let (mut list, mut recent) = (self.list(), self.recent());
        for revocation in revocations {
            let revoked = entry(&revocation);
            match self.verifying.add(revoked) {
                Addition::New => list.add(revoked, revocation.issued_to.as_ref()),
                Addition::Extended { before, after } => list.extend(&before, after),
                Addition::Known | _ => continue,
            }
            changed.push(revoked.target);
            if let RevocationTarget::Client(client) = &revocation.target {
                list.reset_tokens_of(client);
            }
            recent.add(revocation);
        }
        let end = list.end();
        drop((list, recent));
        if !changed.is_empty() {
            // Two concurrent calls may arrive in either order. The end never goes back.
            self.end.send_if_modified(|known| std::mem::replace(known, end.max(*known)) < end);
        }
        changed
    }

    /// The longest lifetime by this process's configuration; `None` before it is known.
    fn configured_lifetime(&self) -> Option<Duration> {
        let millis = self.configured_lifetime.load(Ordering::Acquire);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    fn list(&self) -> MutexGuard<'_, List> {
        lock(&self.list)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        lock(&self.recent)
    }

    fn lost(&self) -> MutexGuard<'_, HashSet<TargetHash>> {
        lock(&self.lost)
    }
}

/// A panic leaves no entry half added.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash(target: &RevocationTarget) -> TargetHash {
    match target {
        RevocationTarget::TokenId(id) => TargetHash::of_token(id),
        RevocationTarget::Client(id) => TargetHash::of_client(id.as_str()),
    }
}

fn entry(revocation: &Revocation) -> Revoked {
    match &revocation.target {
        RevocationTarget::TokenId(id) => Revoked::token(id, revocation.forget_time),
        RevocationTarget::Client(id) => Revoked::client(id.as_str(), revocation.revoked_before, revocation.forget_time),
    }
}

enum Due {
    Read(RevocationTarget),
    ReadAll,
    Purge,
    Count,
}

/// The reason for which everything is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Behind {
    /// The feed has reported changes that were not read.
    Reported,
    /// The feed demands a comparison. It has reported everything else.
    Resync,
}

async fn follow(shared: Weak<Shared>, mut events: Subscription) {
    // Something may have been revoked between the first read and the subscription.
    let mut behind = Some(Behind::Reported);
    let mut purge = Instant::now() + PURGE_INTERVAL;
    let mut retry = Instant::now();
    let mut unreported = Unreported::new("revocation");
    loop {
        let due = tokio::select! {
            event = events.next() => match event {
                Some(Event::Changed(ChangeKind::Revocation(target))) => Due::Read(target),
                Some(Event::Resync) => {
                    behind.get_or_insert(Behind::Resync);
                    Due::ReadAll
                }
                Some(Event::Changed(ChangeKind::Client(_) | ChangeKind::Keys) | Event::Stale) => continue,
                None => return,
            },
            () = sleep_until(retry), if behind.is_some() => Due::ReadAll,
            () = sleep_until(purge) => Due::Purge,
            () = wait_until(unreported.count_at()) => Due::Count,
        };
        let Some(shared) = shared.upgrade() else { return };
        let read = match due {
            Due::Read(target) => {
                unreported.reported(&hash(&target));
                let read = shared.read(&target).await;
                read.inspect_err(|_| behind = Some(Behind::Reported))
            }
            Due::ReadAll => match shared.compare().await {
                Ok(differences) => {
                    if behind.take() == Some(Behind::Resync) {
                        unreported.found(differences);
                    }
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Due::Purge => {
                purge = Instant::now() + PURGE_INTERVAL;
                shared.purge(shared.clock.now()).await;
                Ok(())
            }
            Due::Count => {
                unreported.count();
                Ok(())
            }
        };
        if let Err(error) = read {
            tracing::warn!(error = %error_chain::of(&error), "revocations cannot be read; will retry");
            retry = Instant::now() + RETRY;
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revoked", &self.verifying.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod tests;
