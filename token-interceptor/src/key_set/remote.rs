//! A key set that is fetched, cached, and fetched again: one task per issuer, one fetch at a time.
//!
//! The verifier reads the cached set and does not wait for a fetch. The exception is a token whose key is not
//! cached: all calls with such a token wait for one fetch together. A failed fetch leaves the cached set as
//! it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};
use tracing::Instrument as _;

use super::{
    KeySet,
    fetch::FetchKeys,
    held::Held,
    schedule::{Schedule, UnknownKey},
    task::{Task, lock},
};
use crate::{clock::Clock, error_chain};

/// The longest time of a fetch, all its steps together.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// The time after which an overdue fetch counts as stuck: the task's runtime is no longer driven. It is
/// longer than a fetch takes, and longer than a task takes to end on a busy machine.
const STUCK_AFTER: Duration = Duration::from_secs(10);
/// The minimum interval between two checks for an overdue task.
const LOOKS_APART: Duration = Duration::from_secs(1);

/// The ageing of a fetched key set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    pub(crate) max_age: Duration,
    pub(crate) cooldown: Duration,
    /// The age at which a fetched set is no longer used. `None`: it is used through an outage of any length.
    pub(crate) stale_after: Option<Duration>,
}

/// The fetched key set of one issuer. Its task ends when it is dropped.
#[derive(Debug)]
pub(crate) struct RemoteKeySet {
    shared: Arc<Shared>,
    task: Task,
}

#[derive(Debug)]
struct Shared {
    held: Held,
    fetcher: Box<dyn FetchKeys>,
    schedule: Mutex<Schedule>,
    wake: Notify,
    /// The origin of the times below.
    origin: Instant,
    /// The time of the next check for an overdue fetch, in milliseconds since `origin`.
    look_at: AtomicU64,
    stale_after: Option<Duration>,
    fetched: ArcSwapOption<Fetched>,
    clock: Arc<dyn Clock>,
}

/// The time of the last successful fetch, by both clocks. One clock stands still while the machine is
/// suspended; the other can be set.
#[derive(Debug)]
struct Fetched {
    at: Instant,
    at_time_of_day: SystemTime,
}

impl RemoteKeySet {
    pub(crate) fn new(
        issuer: Arc<str>,
        fetcher: Box<dyn FetchKeys>,
        freshness: Freshness,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let origin = Instant::now();
        let shared = Shared {
            held: Held::new(issuer),
            fetcher,
            schedule: Mutex::new(Schedule::new(freshness.max_age, freshness.cooldown, origin)),
            wake: Notify::new(),
            origin,
            look_at: AtomicU64::new(0),
            stale_after: freshness.stale_after,
            fetched: ArcSwapOption::empty(),
            clock,
        };
        let set = Self { shared: Arc::new(shared), task: Task::default() };
        set.start();
        set
    }

    fn start(&self) {
        self.task.ensure(|| self.shared.begin_anew());
    }

    /// Called for each verification. Restarts the fetching task if it is gone and a fetch is due.
    pub(crate) fn keep_fresh(&self) {
        let now = Instant::now();
        let elapsed = self.shared.millis(now);
        let look_at = self.shared.look_at.load(Ordering::Relaxed);
        if elapsed < look_at {
            return;
        }
        let again = elapsed.saturating_add(millis(LOOKS_APART));
        let mine = self.shared.look_at.compare_exchange(look_at, again, Ordering::Relaxed, Ordering::Relaxed);
        if mine.is_err() {
            return;
        }
        let due = self.shared.schedule().next(now);
        if now.duration_since(due) >= STUCK_AFTER {
            self.task.replace(|| self.shared.begin_anew());
        } else if due <= now {
            self.start();
        } else {
            // The earlier of two times that are stored at once does no harm.
            self.shared.look_at.store(self.shared.millis(due), Ordering::Relaxed);
        }
    }

    /// Returns true if the cached set is too old to rely on.
    pub(crate) fn is_stale(&self) -> bool {
        let Some(stale_after) = self.shared.stale_after else { return false };
        // Before the first set, nothing can be too old.
        self.shared.fetched.load().as_ref().is_some_and(|fetched| fetched.age(&*self.shared.clock) > stale_after)
    }

    /// Ends the task for good.
    pub(crate) fn end(&self) {
        self.task.end();
    }

    pub(crate) fn version(&self) -> u64 {
        self.shared.held.version()
    }

    /// Returns the cached set; `None` before the first one.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.held.keys()
    }

    /// Handles a token whose key is not cached.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        self.start();
        let verdict = self.shared.schedule().unknown_key(Instant::now());
        if verdict == UnknownKey::Wait {
            self.shared.wake.notify_one();
        }
        verdict
    }

    pub(crate) fn news(&self) -> u64 {
        self.shared.held.news()
    }

    pub(crate) async fn news_since(&self, news: u64) -> Result<(), Duration> {
        self.shared.held.news_since(news).await
    }
}

impl Fetched {
    fn age(&self, clock: &dyn Clock) -> Duration {
        let by_day = clock.now().duration_since(self.at_time_of_day).unwrap_or_default();
        self.at.elapsed().max(by_day)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// Returns a new task, in place of one that is gone along with its fetch.
    fn begin_anew(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static {
        self.schedule().abandoned(Instant::now());
        keep(Arc::clone(self))
    }

    fn millis(&self, time: Instant) -> u64 {
        millis(time.duration_since(self.origin))
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    async fn fetch(&self) {
        self.schedule().begin();
        let issuer = &*self.held.issuer;
        let span = tracing::info_span!(parent: None, "fetch keys", otel.kind = "client", issuer);
        let outcome = match timeout(FETCH_TIME_MAX, self.fetcher.fetch().instrument(span)).await {
            Ok(Ok(set)) => {
                let fetched = Fetched { at: Instant::now(), at_time_of_day: self.clock.now() };
                self.held.hold(set);
                self.fetched.store(Some(Arc::new(fetched)));
                self.schedule().succeeded(Instant::now());
                "ok"
            }
            Ok(Err(error)) => {
                self.schedule().failed(Instant::now(), random());
                tracing::warn!(issuer, error = %error_chain::of(&error), "the key set could not be fetched");
                "failed"
            }
            Err(_) => {
                self.schedule().failed(Instant::now(), random());
                tracing::warn!(issuer, "the key set could not be fetched in time");
                "timed_out"
            }
        };
        metrics::counter!("token_key_set_fetches_total", "issuer" => issuer.to_owned(), "outcome" => outcome)
            .increment(1);
        self.held.tell();
    }
}

/// The fetching task.
async fn keep(shared: Arc<Shared>) {
    loop {
        let next = shared.schedule().next(Instant::now());
        if next <= Instant::now() {
            shared.fetch().await;
        } else {
            // A fetch is due, or an unknown key requested one.
            let _ = timeout_at(next, shared.wake.notified()).await;
        }
    }
}

/// Returns a random number from 0 to 1, for spreading load only: the system seeds `RandomState`.
pub(super) fn random() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}
