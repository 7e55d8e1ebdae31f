//! The current key set, its version, and the calls that wait for a newer one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{sync::watch, time::timeout};

use super::KeySet;

/// The longest wait of a call for its key. Then the call reads UNAVAILABLE.
const WAIT_MAX: Duration = Duration::from_secs(2);
/// The number of calls that may wait for one issuer's keys, so that a flood does not fill the memory.
const WAITING_MAX: usize = 1024;
/// The retry delay that a caller gets when the wait was too long.
const RETRY_AFTER_WAIT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Held {
    pub(super) issuer: Arc<str>,
    keys: ArcSwapOption<KeySet>,
    /// Incremented when the key set changes.
    version: AtomicU64,
    /// The number of events so far: a fetch that ended, or a message that arrived.
    news: watch::Sender<u64>,
    waiting: AtomicUsize,
}

impl Held {
    pub(super) fn new(issuer: Arc<str>) -> Self {
        Self {
            issuer,
            keys: ArcSwapOption::empty(),
            version: AtomicU64::new(0),
            news: watch::Sender::new(0),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Returns the current set; `None` before the first one.
    pub(super) fn keys(&self) -> Option<Arc<KeySet>> {
        self.keys.load_full()
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(super) fn hold(&self, set: KeySet) {
        if self.keys.load().as_ref().is_some_and(|held| held.is_same(&set)) {
            return;
        }
        let (keys, skipped, reasons) = (set.len(), set.skipped(), set.reasons());
        tracing::info!(issuer = &*self.issuer, keys, skipped, reasons, "loaded a new key set");
        self.keys.store(Some(Arc::new(set)));
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Wakes the waiting calls: their key may have arrived.
    pub(super) fn tell(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Returns the number of events so far, for [`Held::news_since`].
    pub(super) fn news(&self) -> u64 {
        *self.news.borrow()
    }

    /// Waits for an event after the first `news`.
    ///
    /// # Errors
    ///
    /// With the retry delay, when there is none soon or too many calls wait.
    pub(super) async fn news_since(&self, news: u64) -> Result<(), Duration> {
        let _place = Place::take(&self.waiting).ok_or(RETRY_AFTER_WAIT)?;
        let mut receiver = self.news.subscribe();
        match timeout(WAIT_MAX, receiver.wait_for(|latest| *latest > news)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(RETRY_AFTER_WAIT),
        }
    }
}

/// The place of one waiting call, counted.
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
