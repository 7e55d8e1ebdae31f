//! Revocations, from memory: each expires, and all of them are needed at every check.
//!
//! A revocation is stored first, then counts in this process at once, and in every other within a second,
//! through the change feed. RFC 7009; nothing is written when a token is issued. To add one costs the same however many
//! there are.

mod list;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use token_interceptor::{
    clock::Clock,
    revocation::{Addition, Revocations, Revoked},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

pub(crate) use list::{Part, Position};

use crate::{
    client::ClientId,
    error_chain,
    feed::{Event, Feed, Subscription},
    store::{AdminRecord, ChangeKind, Revocation, RevocationStore, RevocationTarget, StoreError},
};
use list::List;

/// How often what has expired is removed, from memory and from the store.
const PURGE_INTERVAL: Duration = Duration::from_secs(600);
/// After a failed read, how long until the next.
const RETRY: Duration = Duration::from_secs(1);

/// The revocations of this issuer. Cheap to clone; every clone shares them.
#[derive(Clone, Debug)]
pub struct RevocationRegistry(Arc<Shared>);

struct Shared {
    store: Arc<dyn RevocationStore>,
    clock: Arc<dyn Clock>,
    /// For those who follow: in the order in which they became known.
    list: Mutex<List>,
    end: watch::Sender<Position>,
    /// The same, as this project's own verifier asks for it.
    verifying: Revocations,
    /// The longest lifetime of tokens by this process's configuration, in milliseconds; 0 before it is known.
    configured_lifetime: AtomicU64,
}

impl RevocationRegistry {
    /// Reads the revocations.
    ///
    /// # Errors
    ///
    /// When the store cannot be read: a server that does not know what is revoked must not say what is valid.
    pub async fn start(store: Arc<dyn RevocationStore>, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let shared = Shared {
            store,
            clock,
            list: Mutex::default(),
            end: watch::Sender::default(),
            verifying: Revocations::new(),
            configured_lifetime: AtomicU64::new(0),
        };
        let registry = Self(Arc::new(shared));
        registry.0.read_all().await?;
        Ok(registry)
    }

    /// Takes over what other processes revoke, and forgets what has expired, until feed or registry end.
    pub fn follow(&self, feed: &Feed) {
        tokio::spawn(follow(Arc::downgrade(&self.0), feed.subscribe()));
    }

    /// Revokes. Counts here when this returns.
    ///
    /// # Errors
    ///
    /// The store's; nothing is revoked then.
    pub async fn revoke(&self, revocation: Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.0.store.revoke(&revocation, audit).await?;
        self.0.add([revocation]);
        Ok(())
    }

    /// The longest lifetime of a token that may be valid now, whichever process issued it, under whichever
    /// configuration. `configured` is the longest by this process's own, which is noted in the store from now on.
    ///
    /// # Errors
    ///
    /// The store's.
    pub async fn longest_lifetime(&self, configured: Duration) -> Result<Duration, StoreError> {
        let millis = u64::try_from(configured.as_millis()).unwrap_or(u64::MAX);
        self.0.configured_lifetime.store(millis, Ordering::Release);
        self.0.store.longest_lifetime(configured, self.0.clock.now()).await
    }

    /// A revocation was stored as a part of another change: counts here when this returns.
    pub(crate) fn stored(&self, revocation: Revocation) {
        self.0.add([revocation]);
    }

    /// How many single tokens of the client are revoked and have not expired.
    #[must_use]
    pub fn tokens_of(&self, client: &ClientId) -> usize {
        self.0.list().tokens_of(client, self.0.clock.now())
    }

    /// At most `entries_max` revocations from `position` on.
    pub(crate) fn read(&self, position: Position, entries_max: usize) -> Part {
        self.0.list().read(position, entries_max, self.0.clock.now())
    }

    /// The end of the list of revocations, and each change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Position> {
        self.0.end.subscribe()
    }

    /// A number that processes share when they know the same revocations.
    #[must_use]
    pub fn digest(&self) -> u128 {
        self.0.list().digest(self.0.clock.now())
    }

    /// For a verifier of this issuer's tokens within this process.
    #[must_use]
    pub fn verifying(&self) -> &Revocations {
        &self.0.verifying
    }
}

impl Shared {
    async fn read_all(&self) -> Result<(), StoreError> {
        self.add(self.store.revocations(self.clock.now()).await?);
        Ok(())
    }

    async fn read(&self, target: &RevocationTarget) -> Result<(), StoreError> {
        self.add(self.store.revocation(target).await?);
        Ok(())
    }

    /// Nothing revoked ever becomes valid again: entries are added and extended, never taken back.
    fn add(&self, revocations: impl IntoIterator<Item = Revocation>) {
        let mut list = self.list();
        let before = list.end();
        for revocation in revocations {
            let revoked = entry(&revocation);
            match self.verifying.add(revoked) {
                Addition::New => list.add(revoked, revocation.issued_to.as_ref()),
                Addition::Extended { before, after } => list.extend(&before, after),
                Addition::Known | _ => continue,
            }
            if let RevocationTarget::Client(client) = &revocation.target {
                list.reset_tokens_of(client);
            }
        }
        let end = list.end();
        drop(list);
        if end != before {
            // Two at once may come here in either order: the end never goes back.
            self.end.send_if_modified(|known| std::mem::replace(known, end.max(*known)) < end);
        }
    }

    /// A panic leaves no entry half added.
    fn list(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn purge(&self, now: SystemTime) {
        self.verifying.forget(now);
        self.list().purge(now);
        if let Err(error) = self.store.purge_revocations(now).await {
            tracing::warn!(error = %error_chain::of(&error), "expired revocations cannot be removed");
        }
        let configured = Duration::from_millis(self.configured_lifetime.load(Ordering::Acquire));
        if !configured.is_zero()
            && let Err(error) = self.store.longest_lifetime(configured, now).await
        {
            tracing::warn!(error = %error_chain::of(&error), "the longest lifetime of tokens cannot be noted");
        }
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
}

async fn follow(shared: Weak<Shared>, mut events: Subscription) {
    // Something may have been revoked between the first read and the subscription.
    let mut behind = true;
    let mut purge = Instant::now() + PURGE_INTERVAL;
    let mut retry = Instant::now();
    loop {
        let due = tokio::select! {
            event = events.next() => match event {
                Some(Event::Changed(ChangeKind::Revocation(target))) => Due::Read(target),
                Some(Event::Resync) => Due::ReadAll,
                Some(Event::Changed(ChangeKind::Client(_) | ChangeKind::Keys) | Event::Stale) => continue,
                None => return,
            },
            () = sleep_until(retry), if behind => Due::ReadAll,
            () = sleep_until(purge) => Due::Purge,
        };
        let Some(shared) = shared.upgrade() else { return };
        let read = match due {
            Due::Read(target) => shared.read(&target).await,
            Due::ReadAll => shared.read_all().await.inspect(|()| behind = false),
            Due::Purge => {
                purge = Instant::now() + PURGE_INTERVAL;
                shared.purge(shared.clock.now()).await;
                Ok(())
            }
        };
        if let Err(error) = read {
            tracing::warn!(error = %error_chain::of(&error), "revocations cannot be read; trying again");
            (behind, retry) = (true, Instant::now() + RETRY);
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("revoked", &self.verifying.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
