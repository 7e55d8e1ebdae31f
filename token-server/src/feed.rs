//! Changes to the store, as they happen: to the caches and to the trust stream.
//!
//! The change log is the only source, whoever made the change: this process (which wakes the follower at
//! once), another replica, or a command on the same file (which the poll finds). Losing touch with the store
//! is itself an event, because what caches hold is only as good as the feed that would correct it.

mod told;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::broadcast,
    time::{Instant, sleep, timeout},
};

use crate::{
    error_chain,
    store::{ChangeKind, ChangeLog, StoreError},
};

/// Changes read at once.
const BATCH: u32 = 500;
/// Events that a subscriber may lag behind before it has to begin anew.
const BACKLOG: usize = 1024;
/// A store that takes longer to answer is out of reach.
const PATIENCE: Duration = Duration::from_secs(5);
/// Changes are kept for this long,
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// and purged this often.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// Out of touch for longer, the log may have been purged of what was missed.
const PURGE_MARGIN: Duration = Duration::from_secs(12 * 3600);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something changed; the new state is read from the store.
    Changed(ChangeKind),
    /// Changes may have been missed: everything may have changed.
    Resync,
    /// The store has been out of reach for longer than memory may be trusted.
    Stale,
}

/// How the feed follows the log.
#[derive(Clone, Copy, Debug)]
pub struct FeedSettings {
    /// How often it looks for other processes' changes.
    pub poll_interval: Duration,
    /// For how long memory may be trusted while the store is out of reach.
    pub staleness_max: Duration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self { poll_interval: Duration::from_millis(500), staleness_max: Duration::from_secs(4 * 3600) }
    }
}

/// The feed. It ends with its last handle.
#[derive(Clone, Debug)]
pub struct Feed(Arc<broadcast::Sender<Event>>);

/// One listener's place in the feed.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Event>);

impl Feed {
    /// Starts to follow `log`, from its present end on: subscribe, then read.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub async fn start(log: Arc<dyn ChangeLog>, settings: FeedSettings) -> Result<Self, StoreError> {
        let seen = log.last_change().await?;
        told::reached(seen);
        told::stale(false);
        let sender = Arc::new(broadcast::Sender::new(BACKLOG));
        let now = Instant::now();
        let events = Arc::downgrade(&sender);
        let follower = Follower { log, settings, events, seen, contact: now, purged: now, stale: false };
        tokio::spawn(follower.run());
        Ok(Self(sender))
    }

    /// Listens from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}

impl Subscription {
    /// The next event; `None` when the feed has ended.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Resync),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

struct Follower {
    log: Arc<dyn ChangeLog>,
    settings: FeedSettings,
    events: Weak<broadcast::Sender<Event>>,
    /// The last change that was passed on.
    seen: u64,
    /// When the store last answered.
    contact: Instant,
    /// When the log was last purged by this process.
    purged: Instant,
    stale: bool,
}

impl Follower {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.log.changed() => {}
                () = sleep(self.settings.poll_interval) => {}
            }
            let Some(events) = self.events.upgrade() else { return };
            let read = timeout(PATIENCE, self.read()).await;
            match read.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed))) {
                Ok(news) => {
                    told::reached(self.seen);
                    self.in_touch(&events, news);
                    self.purge().await;
                }
                // The last handle has gone meanwhile, and whoever held it has closed the store.
                Err(_) if Arc::strong_count(&events) == 1 => return,
                Err(error) => self.out_of_touch(&events, &error),
            }
        }
    }

    /// What is new; `None` where the log says less than it once did, as after a restore from a backup.
    async fn read(&mut self) -> Result<Option<Vec<ChangeKind>>, StoreError> {
        let last = self.log.last_change().await?;
        if last < self.seen {
            self.seen = last;
            return Ok(None);
        }
        let mut news = Vec::new();
        while self.seen < last {
            let batch = self.log.changes_after(self.seen, BATCH).await?;
            let Some(end) = batch.last() else { break };
            self.seen = end.sequence;
            news.extend(batch.into_iter().map(|change| change.kind));
        }
        Ok(Some(news))
    }

    /// Nobody listening is no failure: a receiver that comes later reads what it needs.
    fn in_touch(&mut self, events: &broadcast::Sender<Event>, news: Option<Vec<ChangeKind>>) {
        let missed = self.stale || self.contact.elapsed() > PURGE_MARGIN;
        if self.stale {
            tracing::info!("the store is in reach again");
        }
        (self.contact, self.stale) = (Instant::now(), false);
        told::stale(false);
        match news {
            Some(news) if !missed => {
                for kind in news {
                    told::changed(&kind);
                    let _ = events.send(Event::Changed(kind));
                }
            }
            Some(_) => {
                told::resynced("outage");
                let _ = events.send(Event::Resync);
            }
            None => {
                tracing::warn!("the change log says less than before, as after a restore: everything is read anew");
                told::resynced("restored");
                let _ = events.send(Event::Resync);
            }
        }
    }

    /// Whichever replica comes first does it for all.
    async fn purge(&mut self) {
        if self.purged.elapsed() < PURGE_INTERVAL {
            return;
        }
        self.purged = Instant::now();
        if let Err(error) = self.log.purge_changes(KEPT).await {
            tracing::warn!(error = %error_chain::of(&error), "the change log cannot be purged");
        }
    }

    fn out_of_touch(&mut self, events: &broadcast::Sender<Event>, error: &StoreError) {
        told::failed();
        tracing::warn!(error = %error_chain::of(error), "the change log cannot be read");
        if !self.stale && self.contact.elapsed() >= self.settings.staleness_max {
            self.stale = true;
            told::stale(true);
            let _ = events.send(Event::Stale);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use tokio::sync::Notify;

    use super::*;
    use crate::{client::ClientId, store::Change, timestamp::from_millis};

    /// A log that fails and shrinks on demand.
    #[derive(Default)]
    struct FakeLog {
        changes: Mutex<Vec<Change>>,
        broken: Mutex<bool>,
        purged: Mutex<Vec<Duration>>,
        wake: Notify,
    }

    impl FakeLog {
        fn add(&self, sequence: u64, name: &str) {
            let kind = client(name);
            self.changes.lock().unwrap().push(Change { sequence, time: from_millis(0), kind });
        }

        fn set_broken(&self, broken: bool) {
            *self.broken.lock().unwrap() = broken;
        }

        fn check(&self) -> Result<(), StoreError> {
            if *self.broken.lock().unwrap() { Err(StoreError::unavailable("pulled the plug")) } else { Ok(()) }
        }
    }

    #[async_trait]
    impl ChangeLog for FakeLog {
        async fn last_change(&self) -> Result<u64, StoreError> {
            self.check()?;
            Ok(self.changes.lock().unwrap().last().map_or(0, |change| change.sequence))
        }

        async fn changes_after(&self, sequence: u64, limit: u32) -> Result<Vec<Change>, StoreError> {
            self.check()?;
            let changes = self.changes.lock().unwrap();
            let after = changes.iter().filter(|change| change.sequence > sequence);
            Ok(after.take(limit.try_into().unwrap()).cloned().collect())
        }

        async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
            self.purged.lock().unwrap().push(age);
            Ok(0)
        }

        async fn changed(&self) {
            self.wake.notified().await;
        }
    }

    fn client(name: &str) -> ChangeKind {
        ChangeKind::Client(ClientId::try_from(name).unwrap())
    }

    async fn start(log: &Arc<FakeLog>) -> (Feed, Subscription) {
        let settings = FeedSettings { staleness_max: Duration::from_secs(60), ..FeedSettings::default() };
        let feed = Feed::start(Arc::clone(log) as Arc<dyn ChangeLog>, settings).await.unwrap();
        let subscription = feed.subscribe();
        (feed, subscription)
    }

    #[tokio::test(start_paused = true)]
    async fn begins_at_the_end_of_the_log_and_passes_changes_on_in_order() {
        let log = Arc::new(FakeLog::default());
        log.add(3, "old");
        let (_feed, mut events) = start(&log).await;
        log.add(4, "a");
        log.add(9, "b");
        assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
        assert_eq!(events.next().await, Some(Event::Changed(client("b"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_this_process_is_passed_on_without_waiting_for_the_poll() {
        let log = Arc::new(FakeLog::default());
        let (_feed, mut events) = start(&log).await;
        let begun = Instant::now();
        log.add(1, "a");
        log.wake.notify_one();
        assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_another_process_is_passed_on_within_a_second() {
        let log = Arc::new(FakeLog::default());
        let (_feed, mut events) = start(&log).await;
        let begun = Instant::now();
        log.add(1, "a");
        assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
        assert!(begun.elapsed() <= Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_short_outage_loses_nothing() {
        let log = Arc::new(FakeLog::default());
        let (_feed, mut events) = start(&log).await;
        log.set_broken(true);
        log.add(1, "a");
        sleep(Duration::from_secs(30)).await;
        log.set_broken(false);
        assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_outage_is_told_once_and_ends_in_a_resync() {
        let log = Arc::new(FakeLog::default());
        let (_feed, mut events) = start(&log).await;
        let begun = Instant::now();
        log.set_broken(true);
        assert_eq!(events.next().await, Some(Event::Stale));
        assert!(begun.elapsed() >= Duration::from_secs(60));
        sleep(Duration::from_secs(300)).await;
        log.set_broken(false);
        assert_eq!(events.next().await, Some(Event::Resync));
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_went_backwards_is_a_resync() {
        let log = Arc::new(FakeLog::default());
        log.add(5, "a");
        let (_feed, mut events) = start(&log).await;
        log.changes.lock().unwrap().clear();
        assert_eq!(events.next().await, Some(Event::Resync));
        log.add(1, "b");
        assert_eq!(events.next().await, Some(Event::Changed(client("b"))));
    }

    #[tokio::test(start_paused = true)]
    async fn who_lags_too_far_behind_resyncs() {
        let log = Arc::new(FakeLog::default());
        let (_feed, mut events) = start(&log).await;
        for sequence in 1..=3 * 1024 {
            log.add(sequence, "a");
        }
        sleep(Duration::from_secs(5)).await;
        assert_eq!(events.next().await, Some(Event::Resync));
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_purged_of_what_nobody_can_still_be_missing() {
        let log = Arc::new(FakeLog::default());
        let (_feed, _events) = start(&log).await;
        sleep(PURGE_INTERVAL * 3 + Duration::from_secs(60)).await;
        assert_eq!(*log.purged.lock().unwrap(), [KEPT; 3]);
        assert!(KEPT > PURGE_MARGIN, "who was away for less has missed nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn ends_with_its_last_handle() {
        let log = Arc::new(FakeLog::default());
        let (feed, mut events) = start(&log).await;
        drop(feed);
        assert_eq!(events.next().await, None);
        sleep(Duration::from_secs(2)).await;
        assert_eq!(Arc::strong_count(&log), 1);
    }
}
