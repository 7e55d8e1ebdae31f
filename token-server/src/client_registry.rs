//! Clients, from memory: a bounded cache that the change feed keeps true.
//!
//! Clients that exist and IDs that do not are kept apart, so that somebody who asks for made-up IDs cannot
//! push clients out. Of many that ask for the same ID at once one reads the store. While the store is out of
//! reach, what is in memory serves, until the feed says that it is too old.

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
use tokio::time::{Instant, sleep, timeout};

use self::uses::Uses;
use crate::{
    client::{Client, ClientId},
    feed::{Event, Feed, Subscription},
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
            let follow = follow(&shared, events);
            let write = write_uses(&shared);
            tokio::select! { () = follow => {}, () = write => {} }
        });
    }

    /// The client of that ID, where there is one. No I/O where it is in memory.
    ///
    /// # Errors
    ///
    /// When it is not in memory, or memory is too old, and the store cannot be read.
    pub async fn find(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let shared = &*self.0;
        if !shared.current.load(Ordering::Acquire) {
            shared.outage()?;
            return Box::pin(shared.read(id)).await;
        }
        if let Some(client) = shared.known.get(id) {
            return Ok(Some(client));
        }
        if shared.unknown.get(id).is_some() {
            return Ok(None);
        }
        Box::pin(shared.load(id)).await
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
    async fn load(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
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
        let found = self.read(id).await?;
        match &found {
            // Fails where the ID was forgotten during the read, and the value is then not kept.
            Some(client) => drop(guard.insert(Arc::clone(client))),
            None => {
                self.unknown.insert(id.clone(), ());
                if self.forgotten.load(Ordering::SeqCst) != forgotten {
                    self.unknown.remove(id);
                }
            }
        }
        Ok(found)
    }

    async fn read(&self, id: &ClientId) -> Result<Option<Arc<Client>>, StoreError> {
        let read = timeout(PATIENCE, self.store.client(id)).await;
        let read = read.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)));
        if let Err(error) = &read
            && error.is_transient()
        {
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
            Event::Stale => shared.current.store(false, Ordering::Release),
            Event::Resync => {
                shared.forget_all();
                shared.set_outage(None);
                shared.current.store(true, Ordering::Release);
            }
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
