//! Clients, from memory: a bounded cache that the change feed keeps true.
//!
//! Clients that exist and IDs that do not are kept apart, so that made-up IDs cannot push clients out. Of many requests
//! for the same ID one reads the store. While the store is unreachable, what is in memory serves, until the feed says
//! that it is too old. Clients in memory are compared with the store at an interval.

mod comparison;
mod lookups;
pub(crate) mod peppers_in_use;
mod uses;

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use quick_cache::sync::Cache;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use self::{lookups::Lookups, uses::Uses};
use crate::{
    client::{Client, ClientId},
    feed::{Event, Feed, Subscription},
    origin::Peer,
    store::{ChangeKind, ClientStore, StoreError},
};

/// Clients in memory, unless the operator says otherwise.
pub const CLIENTS_MAX: usize = 10_000;
/// IDs known not to exist.
const UNKNOWN_MAX: usize = 10_000;
/// A store that takes longer to answer is out of reach.
const PATIENCE: Duration = Duration::from_secs(5);
/// After the store has failed, misses fail without asking it again for this long.
const OUTAGE_MEMORY: Duration = Duration::from_secs(1);
/// How often use of credentials is written down.
const USE_INTERVAL: Duration = Duration::from_secs(60);

/// Clients by their ID. Cheap to clone; every clone shares the same memory.
#[derive(Clone)]
pub struct ClientRegistry(Arc<Shared>);

struct Shared {
    store: Arc<dyn ClientStore>,
    known: Cache<ClientId, Arc<Client>>,
    unknown: Cache<ClientId, ()>,
    /// Counts what was forgotten, so that a read that was overtaken by a change is not kept.
    forgotten: AtomicU64,
    /// False while memory is too old to be trusted.
    current: AtomicBool,
    /// How often it became so.
    stale: AtomicU64,
    /// Counts the times that changes may have been missed.
    doubts: watch::Sender<u64>,
    lookups: Lookups,
    outage: RwLock<Option<(Instant, StoreError)>>,
    uses: Uses,
}

impl ClientRegistry {
    /// Clients of `store`, [`CLIENTS_MAX`] of them in memory.
    #[must_use]
    pub fn new(store: Arc<dyn ClientStore>) -> Self {
        Self::with_capacity(store, CLIENTS_MAX)
    }

    /// Clients of `store`, at most `clients_max` of them in memory.
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
            lookups: Lookups::new(),
            outage: RwLock::new(None),
            uses: Uses::default(),
        }))
    }

    /// Keeps memory true to `feed`, and writes use of credentials down, until feed or registry end.
    pub fn follow(&self, feed: &Feed) {
        let (shared, events) = (Arc::downgrade(&self.0), feed.subscribe());
        // What was read before the subscription may have changed since.
        self.0.forget_all();
        tokio::spawn(async move {
            // Memory that nothing corrects any more is not used.
            let _untrusted = Untrusted(shared.clone());
            let follow = follow(&shared, events);
            let write = write_uses(&shared);
            let compare = comparison::compare(&shared);
            tokio::select! { () = follow => {}, () = write => {}, () = compare => {} }
        });
    }

    /// The client of that ID, where there is one. No I/O where it is in memory.
    ///
    /// # Errors
    ///
    /// When it is not in memory, or memory is too old, and the store cannot be read.
    pub async fn find(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        self.find_for(None, id).await
    }

    /// The same, for a peer that has not authenticated: it has its share of the lookups and no more.
    ///
    /// # Errors
    ///
    /// As [`ClientRegistry::find`]; [`StoreError::Busy`] where the peer has too many lookups in flight.
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

    /// Forgets one client: whoever has changed it calls this before saying so.
    pub fn forget(&self, id: &ClientId) {
        self.0.forget(id);
    }

    /// Notes that a credential was used. Costs no write: uses are collected and written once a minute.
    pub fn credential_used(&self, id: &ClientId, credential_id: &str, now: SystemTime) {
        self.0.uses.note(id, credential_id, now);
    }

    /// Writes down what [`ClientRegistry::credential_used`] has collected: before the program ends.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; what was collected is kept for another try.
    pub async fn write_uses(&self) -> Result<(), StoreError> {
        self.0.uses.write(&*self.0.store).await
    }
}

impl Shared {
    async fn load(&self, peer: Option<Peer>, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        self.outage()?;
        // Before the guard: whoever holds it must not wait in the queue of a peer that floods the server.
        let _turn = self.lookups.turn(peer).await?;
        let guard = match self.known.get_value_or_guard_async(id).await {
            Ok(client) => return Ok(Some(client)),
            Err(guard) => guard,
        };
        // Whoever held the guard before may have found out what this one is after.
        if self.unknown.get(id).is_some() {
            return Ok(None);
        }
        self.outage()?;
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let doubts = *self.doubts.borrow();
        let found = self.read(id).await?;
        match &found {
            Some(client) => {
                // Fails where the ID was forgotten during the read, and the value is then not kept.
                drop(guard.insert(Arc::clone(client)));
                // Nor what was read from a store that may be another by now.
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
        let read = timeout(PATIENCE, self.store.lookup(id)).await;
        let read = read.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)));
        // A store that is busy is no outage: it answers others.
        if let Err(error @ StoreError::Unavailable(_)) = &read {
            self.set_outage(Some((Instant::now(), error.clone())));
        }
        Ok(read?.map(Arc::new))
    }

    /// A store that just failed is not asked again by each of a thousand callers in turn.
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
            Event::Changed(ChangeKind::Client(id)) => shared.forget(&id),
            Event::Changed(ChangeKind::Keys | ChangeKind::Revocation(_)) => {}
            Event::Stale => shared.distrust(),
            Event::Resync => {
                // What is not known to exist may exist by now. What is known is compared, and serves meanwhile: an
                // unreachable store that comes back for a moment must not empty the memory.
                shared.forgotten.fetch_add(1, Ordering::SeqCst);
                shared.unknown.clear();
                shared.doubts.send_modify(|doubts| *doubts += 1);
            }
        }
    }
}

/// Ends the trust in memory when it is dropped: with the task that follows the feed, however that ends.
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
            tracing::warn!(%error, "use of credentials is not written down yet");
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
