//! Clients in a bounded cache that the change feed keeps current.
//!
//! Existing clients and unknown IDs have separate caches, so that made-up IDs cannot evict clients.
//! Concurrent requests for one ID share a single read of the store. While the store is unreachable, cached
//! clients are served until the feed reports them as too old. At an interval, cached clients are compared
//! with the store.

mod comparison;
mod lookups;
pub mod peppers_in_use;
mod uses;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use self::{lookups::Lookups, uses::Uses};
use crate::{
    client::{Client, ClientId},
    feed::{Event, Feed, Subscription, unreported::Unreported},
    origin::Peer,
    store::{ChangeKind, ClientStore, StoreError, answered},
};

/// The default number of cached clients.
pub const CLIENTS_MAX: usize = 10_000;
/// The number of cached IDs that do not exist.
const UNKNOWN_MAX: usize = 10_000;
/// The time for which cache misses fail without a read after the store has failed.
const OUTAGE_MEMORY: Duration = Duration::from_secs(1);
/// The interval at which the last uses of credentials are saved.
const USE_INTERVAL: Duration = Duration::from_secs(60);

/// Clients by their ID. Cheap to clone; every clone shares the same cache.
#[derive(Clone)]
pub struct ClientRegistry(Arc<Shared>);

struct Shared {
    store: Arc<dyn ClientStore>,
    known: Cache<ClientId, Arc<Client>>,
    unknown: Cache<ClientId, ()>,
    /// The number of invalidations. A read that overlaps with a change is not cached.
    forgotten: AtomicU64,
    /// False while the cache is too old to be trusted.
    current: AtomicBool,
    /// The number of times that the cache became too old.
    stale: AtomicU64,
    /// The number of times that changes may have been missed.
    doubts: watch::Sender<u64>,
    /// Differences that a comparison found.
    unreported: Mutex<Unreported<ClientId>>,
    lookups: Lookups,
    outage: RwLock<Option<(Instant, StoreError)>>,
    uses: Uses,
}

impl ClientRegistry {
    /// The clients of `store`, with [`CLIENTS_MAX`] of them cached.
    #[must_use]
    pub fn new(store: Arc<dyn ClientStore>) -> Self {
        Self::with_capacity(store, CLIENTS_MAX)
    }

    /// The clients of `store`, with at most `clients_max` of them cached.
    #[must_use]
    pub fn with_capacity(store: Arc<dyn ClientStore>, clients_max: usize) -> Self {
        Self(Arc::new(Shared {
            store,
            known: Cache::new(clients_max),
            unknown: Cache::new(UNKNOWN_MAX),
            forgotten: AtomicU64::new(0),
            current: AtomicBool::new(true),
            stale: AtomicU64::new(0),
            doubts: watch::Sender::new(0),
            unreported: Mutex::new(Unreported::new("client")),
            lookups: Lookups::new(),
            outage: RwLock::new(None),
            uses: Uses::default(),
        }))
    }

    /// Applies the changes of `feed` to the cache and saves uses of credentials, until the feed or the
    /// registry ends.
    pub fn follow(&self, feed: &Feed) {
        let (shared, events) = (Arc::downgrade(&self.0), feed.subscribe());
        // Clients read before the subscription may have changed since.
        self.0.forget_all();
        tokio::spawn(async move {
            // Without the feed, the cache is not trusted.
            let _untrusted = Untrusted(shared.clone());
            let follow = follow(&shared, events);
            let write = write_uses(&shared);
            let compare = comparison::compare(&shared);
            tokio::select! { () = follow => {}, () = write => {}, () = compare => {} }
        });
    }

    /// Returns the client with this ID, if there is one. A cached client needs no I/O. Only for IDs that a
    /// verified token or an authenticated caller names: see [`ClientRegistry::find_for`].
    ///
    /// # Errors
    ///
    /// When the client is not cached or the cache is too old, and the store cannot be read.
    pub async fn find(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        self.find_for(None, id).await
    }

    /// The same for a peer that has not authenticated. Its lookups in flight are limited.
    ///
    /// # Errors
    ///
    /// As [`ClientRegistry::find`]; [`StoreError::Busy`] if the peer has too many lookups in flight.
    pub async fn find_for(&self, peer: Option<Peer>, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let shared = &*self.0;
        if !shared.current.load(Ordering::Acquire) {
            shared.outage()?;
            return Box::pin(shared.read_in_turn(peer, id)).await;
        }
        if let Some(client) = shared.known.get(id) {
            return Ok(Some(client));
        }
        if shared.unknown.get(id).is_some() {
            return Ok(None);
        }
        Box::pin(shared.load(peer, id)).await
    }

    /// Returns the IDs of at most `limit` clients with a federated identity that can accept the subject. It
    /// always reads the store. The peer's lookups in flight are limited.
    ///
    /// # Errors
    ///
    /// As [`ClientRegistry::find_for`].
    pub async fn federated(
        &self,
        peer: Peer,
        issuer: &str,
        subject: &str,
        limit: u32,
    ) -> Result<Vec<ClientId>, StoreError> {
        let shared = &*self.0;
        shared.outage()?;
        let _turn = shared.lookups.turn(Some(peer)).await?;
        shared.outage()?;
        shared.noted(answered(shared.store.federated_clients(issuer, subject, limit)).await)
    }

    /// Removes one client from the cache. A caller that changes a client calls this before it confirms the
    /// change.
    pub fn forget(&self, id: &ClientId) {
        self.0.forget(id);
    }

    /// Records the use of a credential in memory. Uses are saved once a minute.
    pub fn credential_used(&self, id: &ClientId, credential_id: &str, now: SystemTime) {
        self.0.uses.note(id, credential_id, now);
    }

    /// Saves the uses that [`ClientRegistry::credential_used`] recorded. Called before the program ends.
    ///
    /// # Errors
    ///
    /// When the store cannot be written. The uses stay in memory for another attempt.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        self.0.uses.write(&*self.0.store).await
    }
}

impl Shared {
    async fn load(&self, peer: Option<Peer>, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        self.outage()?;
        // Before the guard: its holder must not wait in the queue of a peer that floods the server.
        let _turn = self.lookups.turn(peer).await?;
        let guard = match self.known.get_value_or_guard_async(id).await {
            Ok(client) => return Ok(Some(client)),
            Err(guard) => guard,
        };
        // The previous holder of the guard may have read the same ID.
        if self.unknown.get(id).is_some() {
            return Ok(None);
        }
        self.outage()?;
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let doubts = *self.doubts.borrow();
        let found = self.read(id).await?;
        match &found {
            Some(client) => {
                // The insert fails if the ID was invalidated during the read. The value is then not cached.
                drop(guard.insert(Arc::clone(client)));
                // Do not cache a value if the store may have been replaced in the meantime.
                if *self.doubts.borrow() != doubts {
                    self.known.remove(id);
                }
            }
            None => {
                self.unknown.insert(id.clone(), ());
                if self.forgotten.load(Ordering::SeqCst) != forgotten {
                    self.unknown.remove(id);
                }
            }
        }
        Ok(found)
    }

    async fn read_in_turn(&self, peer: Option<Peer>, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let _turn = self.lookups.turn(peer).await?;
        self.outage()?;
        self.read(id).await
    }

    async fn read(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        Ok(self.noted(answered(self.store.lookup(id)).await)?.map(Arc::new))
    }

    /// Notes an outage of the store.
    fn noted<T>(&self, read: Result<T, StoreError>) -> Result<T, StoreError> {
        // A busy store is not an outage: it answers other callers.
        if let Err(error @ StoreError::Unavailable(_)) = &read {
            self.set_outage(Some((Instant::now(), error.clone())));
        }
        read
    }

    /// Fails if the store has just failed, so that not each of a thousand callers asks it again.
    fn outage(&self) -> Result<(), StoreError> {
        match &*self.outage.read().unwrap_or_else(PoisonError::into_inner) {
            Some((since, error)) if since.elapsed() < OUTAGE_MEMORY => Err(error.clone()),
            Some(_) | None => Ok(()),
        }
    }

    fn set_outage(&self, outage: Option<(Instant, StoreError)>) {
        *self.outage.write().unwrap_or_else(PoisonError::into_inner) = outage;
    }

    fn forget(&self, id: &ClientId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.known.remove(id);
        self.unknown.remove(id);
    }

    fn unreported(&self) -> MutexGuard<'_, Unreported<ClientId>> {
        self.unreported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn distrust(&self) {
        self.stale.fetch_add(1, Ordering::SeqCst);
        self.current.store(false, Ordering::Release);
    }

    fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.known.clear();
        self.unknown.clear();
    }
}

async fn follow(shared: &Weak<Shared>, mut events: Subscription) {
    while let Some(event) = events.next().await {
        let Some(shared) = shared.upgrade() else { return };
        match event {
            Event::Changed(ChangeKind::Client(id)) => {
                shared.forget(&id);
                shared.unreported().reported(&id);
            }
            Event::Changed(ChangeKind::Keys | ChangeKind::Revocation(_)) => {}
            Event::Stale => shared.distrust(),
            Event::Resync => {
                // Unknown IDs may exist by now, so they are dropped. Clients are compared, and served
                // meanwhile: a store that returns only for a moment must not empty the cache.
                shared.forgotten.fetch_add(1, Ordering::SeqCst);
                shared.unknown.clear();
                shared.doubts.send_modify(|doubts| *doubts += 1);
            }
        }
    }
}

/// Marks the cache as untrusted on drop, when the task that follows the feed ends for any reason.
struct Untrusted(Weak<Shared>);

impl Drop for Untrusted {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.distrust();
        }
    }
}

async fn write_uses(shared: &Weak<Shared>) {
    loop {
        sleep(USE_INTERVAL).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Err(error) = shared.uses.write(&*shared.store).await {
            tracing::warn!(%error, "could not save credential last-used times; will retry");
        }
    }
}

impl fmt::Debug for ClientRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientRegistry")
            .field("known", &self.0.known.len())
            .field("unknown", &self.0.unknown.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
