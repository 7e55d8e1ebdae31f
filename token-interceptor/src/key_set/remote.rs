//! A key set that is fetched, held, and fetched again: one task per issuer, one fetch at a time.
//!
//! Whoever verifies reads the held set and never waits for a fetch, except for the first tokens of a key that
//! is not held: they wait for one, together. A fetch that fails leaves the held set as it is.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

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

/// A fetch that takes longer than this has failed, all its steps together.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// How a fetched key set ages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    pub(crate) max_age: Duration,
    pub(crate) cooldown: Duration,
}

/// The fetched key set of one issuer. The task ends with it.
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
}

impl RemoteKeySet {
    pub(crate) fn new(issuer: Arc<str>, fetcher: Box<dyn FetchKeys>, freshness: Freshness) -> Self {
        let schedule = Schedule::new(freshness.max_age, freshness.cooldown, Instant::now());
        let (schedule, wake) = (Mutex::new(schedule), Notify::new());
        let set = Self {
            shared: Arc::new(Shared { held: Held::new(issuer), fetcher, schedule, wake }),
            task: Task::default(),
        };
        set.start();
        set
    }

    fn start(&self) {
        self.task.ensure(|| {
            self.shared.schedule().abandoned(Instant::now());
            keep(Arc::clone(&self.shared))
        });
    }

    pub(crate) fn version(&self) -> u64 {
        self.shared.held.version()
    }

    /// `None` before the first set.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.held.keys()
    }

    /// Called for a token whose key is not held.
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

impl Shared {
    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        lock(&self.schedule)
    }

    async fn fetch(&self) {
        self.schedule().begin();
        let issuer = &*self.held.issuer;
        let span = tracing::info_span!(parent: None, "fetch keys", otel.kind = "client", issuer);
        let outcome = match timeout(FETCH_TIME_MAX, self.fetcher.fetch().instrument(span)).await {
            Ok(Ok(set)) => {
                self.held.hold(set);
                self.schedule().succeeded(Instant::now());
                "ok"
            }
            Ok(Err(error)) => {
                self.schedule().failed(Instant::now(), random());
                tracing::warn!(issuer, error = %error.chain(), "the key set could not be fetched");
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

/// 0 to 1, for spreading load alone: `RandomState` is seeded by the system.
pub(super) fn random() -> f64 {
    f64::from((RandomState::new().hash_one(0_u8) >> 32) as u32) / f64::from(u32::MAX)
}
