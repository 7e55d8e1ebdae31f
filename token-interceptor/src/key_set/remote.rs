//! A key set that is fetched, held, and fetched again: one task per issuer, one fetch at a time.
//!
//! Whoever verifies reads the held set and never waits for a fetch, except for the first tokens of a key that
//! is not held: they wait for one, together. A fetch that fails leaves the held set as it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::AbortHandle,
    time::{Instant, timeout, timeout_at},
};

use super::{
    KeySet,
    fetch::FetchKeys,
    schedule::{Schedule, UnknownKey},
};

/// A fetch that takes longer than this has failed, all its steps together.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);
/// A call waits this long for its key at most, then reads UNAVAILABLE.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// More calls than this do not wait for keys of one issuer: a flood must not fill the memory.
const WAITING_MAX: usize = 1024;
/// What a caller is told to wait when the fetch itself takes too long.
const RETRY_AFTER_WAIT: Duration = Duration::from_secs(1);

/// How a fetched key set ages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    pub(crate) max_age: Duration,
    pub(crate) cooldown: Duration,
}

/// The key set of one issuer. The task ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct RemoteKeySet(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    task: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Shared {
    issuer: Arc<str>,
    fetcher: Box<dyn FetchKeys>,
    held: ArcSwapOption<KeySet>,
    /// Rises whenever the held set becomes another one.
    version: AtomicU64,
    schedule: Mutex<Schedule>,
    wake: Notify,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    waiting: AtomicUsize,
}

impl RemoteKeySet {
    pub(crate) fn new(issuer: Arc<str>, fetcher: Box<dyn FetchKeys>, freshness: Freshness) -> Self {
        let schedule = Schedule::new(freshness.max_age, freshness.cooldown, Instant::now());
        let shared = Arc::new(Shared {
            issuer,
            fetcher,
            held: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            schedule: Mutex::new(schedule),
            wake: Notify::new(),
            ended: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
        });
        let set = Self(Arc::new(Owner { shared, task: Mutex::new(None) }));
        set.start();
        set
    }

    /// Starts the task, again if its runtime ended before this did. Without a runtime, the first token that
    /// needs a key from within one does.
    fn start(&self) {
        let mut task = lock(&self.0.task);
        if task.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            self.0.shared.schedule().abandoned(Instant::now());
            *task = Some(runtime.spawn(keep(Arc::clone(&self.0.shared))).abort_handle());
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.shared.version.load(Ordering::Acquire)
    }

    /// The held set; `None` before the first one.
    pub(crate) fn held(&self) -> Option<Arc<KeySet>> {
        self.0.shared.held.load_full()
    }

    /// Called for a token whose key is not held.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        self.start();
        let verdict = self.0.shared.schedule().unknown_key(Instant::now());
        if verdict == UnknownKey::Wait {
            self.0.shared.wake.notify_one();
        }
        verdict
    }

    /// How many fetches have ended so far: for [`RemoteKeySet::fetched_since`].
    pub(crate) fn fetches(&self) -> u64 {
        *self.0.shared.ended.borrow()
    }

    /// Waits until a fetch has ended that had not at `fetches`.
    ///
    /// # Errors
    ///
    /// With the time to wait, when none ends soon or too many calls wait already.
    pub(crate) async fn fetched_since(&self, fetches: u64) -> Result<(), Duration> {
        let _place = Place::take(&self.0.shared.waiting).ok_or(RETRY_AFTER_WAIT)?;
        let mut ended = self.0.shared.ended.subscribe();
        let fetched = ended.wait_for(|ended| *ended > fetches);
        match timeout(WAIT_MAX, fetched).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RETRY_AFTER_WAIT),
        }
    }
}

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    async fn fetch(&self) {
        self.schedule().begin();
        let fetched = timeout(FETCH_TIME_MAX, self.fetcher.fetch()).await;
        let outcome = match fetched {
            Ok(Ok(set)) => {
                self.hold(set);
                self.schedule().succeeded(Instant::now());
                "ok"
            }
            Ok(Err(error)) => {
                self.schedule().failed(Instant::now(), random());
                tracing::warn!(issuer = &*self.issuer, error = %error.chain(), "the key set could not be fetched");
                "failed"
            }
            Err(_) => {
                self.schedule().failed(Instant::now(), random());
                tracing::warn!(issuer = &*self.issuer, "the key set could not be fetched in time");
                "timed_out"
            }
        };
        metrics::counter!("token_key_set_fetches_total", "issuer" => self.issuer.to_string(), "outcome" => outcome)
            .increment(1);
        self.ended.send_modify(|ended| *ended += 1);
    }

    fn hold(&self, set: KeySet) {
        if self.held.load().as_ref().is_some_and(|held| held.is_same(&set)) {
            return;
        }
        tracing::info!(issuer = &*self.issuer, keys = set.len(), skipped = set.skipped(), "a new key set is held");
        self.held.store(Some(Arc::new(set)));
        self.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// The task.
async fn keep(shared: Arc<Shared>) {
    loop {
        let next = shared.schedule().next(Instant::now());
        if next <= Instant::now() {
            shared.fetch().await;
        } else {
            // Either it is time, or an unknown key asks.
            let _ = timeout_at(next, shared.wake.notified()).await;
        }
    }
}

/// One of the calls that wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing is left half-done under these locks, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 0 to 1, for spreading load alone: `RandomState` is seeded by the system.
fn random() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}
