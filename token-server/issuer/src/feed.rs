//! The change feed: delivers changes to the store to the caches and to the trust stream.
//!
//! The change log is the only source of changes. A change made by this process wakes the follower
//! immediately. A change made by another replica, or by a command on the same file, is found by polling. The
//! follower delivers a change before it advances, so a failure or a cancellation can repeat a change but
//! never skip one.
//!
//! | cause | event |
//! |---|---|
//! | a change was appended to the log | `Changed` |
//! | a change of a kind that this version does not know | `Resync` |
//! | the log was briefly unreachable, or the notification connection was lost | `Resync` |
//! | the log has another history: restored, failed over, another database | `Resync` |
//! | ten minutes without a resync | `Resync` |
//! | the log is unreachable for longer than cached data may be trusted | `Stale` |

#[cfg(test)]
pub(crate) mod plain_log;
mod position;
mod metrics;
pub(crate) mod unreported;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use token_interceptor::error_chain;
use tokio::{
    sync::broadcast,
    time::{Instant, sleep},
};

use self::{metrics::Reason, position::Position};
use crate::store::{Change, ChangeKind, ChangeLog, StoreError, answered};

/// The maximum number of changes read by one query.
const BATCH: u32 = 500;
/// The number of events that a subscriber may lag behind. Beyond it, the subscriber gets `Resync` instead.
const BACKLOG: usize = 1024;
/// The retention of the log. A follower that was away longer cannot find its last row, and resyncs.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The interval at which each process purges the log.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// The interval of unconditional resyncs. It bounds how long a cache can differ from the store, for any
/// cause.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);
/// The minimum time between two resyncs for lost connections, so that a flapping connection cannot overload
/// the store.
const RESYNC_PAUSE: Duration = Duration::from_secs(10);

/// An event of the feed.
///
/// Exhaustive: every cache must handle a new event before it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something changed. Subscribers read the new state from the store.
    Changed(ChangeKind),
    /// Changes may have been missed. Subscribers must reload everything.
    Resync,
    /// The store has been unreachable for longer than cached data may be trusted.
    Stale,
}

/// The settings of the feed.
#[derive(Clone, Copy, Debug)]
pub struct FeedSettings {
    /// The interval at which the follower polls for changes by other processes.
    pub poll_interval: Duration,
    /// The time for which cached data may be trusted while the store is unreachable.
    pub staleness_max: Duration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self { poll_interval: Duration::from_millis(500), staleness_max: Duration::from_secs(4 * 3600) }
    }
}

/// The change feed. It ends when its last handle is dropped.
#[derive(Clone, Debug)]
pub struct Feed(Arc<broadcast::Sender<Event>>);

/// One subscription to the feed.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Event>);

impl Feed {
    /// Starts to follow `log` from its current end. Callers subscribe first, then read the store.
    ///
    /// # Errors
    ///
    /// When the log cannot be read.
    pub async fn start(log: Arc<dyn ChangeLog>, settings: FeedSettings) -> Result<Self, StoreError> {
        let connections_lost = log.connections_lost();
        let position = answered(Position::at_end(&*log)).await?;
        metrics::reached(position.sequence());
        metrics::stale(false);
        let sender = Arc::new(broadcast::Sender::new(BACKLOG));
        let now = Instant::now();
        let follower = Follower {
            log,
            settings,
            events: Arc::downgrade(&sender),
            position,
            connections_lost,
            owed: None,
            started: now,
            resynced: None,
            contact: now,
            purged: now,
            stale: false,
        };
        tokio::spawn(follower.run());
        Ok(Self(sender))
    }

    /// Subscribes to all events from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }
}

impl Subscription {
    /// Returns the next event; `None` when the feed has ended.
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
    /// Advances only after a change has been delivered.
    position: Position,
    /// The store's count of lost connections when the follower last asked.
    connections_lost: u64,
    /// The reason for a resync that subscribers have not received yet.
    owed: Option<Reason>,
    started: Instant,
    /// The time of the last resync.
    resynced: Option<Instant>,
    /// The time of the store's last answer.
    contact: Instant,
    /// The time when this process last purged the log.
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
            match self.catch_up(&events).await {
                Ok(()) => {
                    self.in_touch(&events);
                    self.purge().await;
                }
                // The last handle was dropped, and its owner has closed the store.
                Err(_) if Arc::strong_count(&events) == 1 => return,
                Err(error) => self.out_of_touch(&events, &error),
            }
        }
    }

    /// Reads and delivers new changes, page by page. After a failure, the position is the last delivered
    /// change.
    async fn catch_up(&mut self, events: &broadcast::Sender<Event>) -> Result<(), StoreError> {
        loop {
            let page = answered(self.log.changes_from(self.position.sequence(), BATCH)).await?;
            let more = page.changes.len() >= BATCH as usize;
            let Some(news) = self.position.news(page) else {
                tracing::warn!("change log replaced (restored or failed over?); reloading all caches");
                // Read the position before sending the event: changes made in between are then read twice,
                // not lost.
                self.position = answered(Position::at_end(&*self.log)).await?;
                self.resync(events, Reason::Restored);
                return Ok(());
            };
            self.deliver(events, news);
            if !more {
                return Ok(());
            }
        }
    }

    /// A change without subscribers is no failure: a later subscriber reads the store itself.
    fn deliver(&mut self, events: &broadcast::Sender<Event>, news: Vec<Change>) {
        let mut unknown = false;
        for change in news {
            match &change.kind {
                Some(kind) => {
                    metrics::changed(kind);
                    let _ = events.send(Event::Changed(kind.clone()));
                }
                None => unknown = true,
            }
            self.position.advance(change);
        }
        if unknown {
            self.resync(events, Reason::UnknownKind);
        }
        metrics::reached(self.position.sequence());
    }

    fn resync(&mut self, events: &broadcast::Sender<Event>, reason: Reason) {
        (self.owed, self.resynced) = (None, Some(Instant::now()));
        metrics::resynced(reason);
        let _ = events.send(Event::Resync);
    }

    fn in_touch(&mut self, events: &broadcast::Sender<Event>) {
        let was_stale = std::mem::replace(&mut self.stale, false);
        self.contact = Instant::now();
        metrics::stale(false);
        if was_stale {
            tracing::info!("the store is reachable again");
        }
        let lost = self.log.connections_lost();
        if std::mem::replace(&mut self.connections_lost, lost) != lost {
            self.owed.get_or_insert(Reason::ConnectionLost);
        }
        let rested = self.resynced.is_none_or(|last| last.elapsed() >= RESYNC_PAUSE);
        let due = self.resynced.unwrap_or(self.started).elapsed() >= RESYNC_INTERVAL;
        match self.owed {
            Some(reason) if rested || was_stale => self.resync(events, reason),
            None if due => self.resync(events, Reason::Interval),
            Some(_) | None => {}
        }
    }

    /// Purges the log. Only the first replica finds anything to purge.
    async fn purge(&mut self) {
        if self.purged.elapsed() < PURGE_INTERVAL {
            return;
        }
        self.purged = Instant::now();
        if let Err(error) = answered(self.log.purge_changes(KEPT)).await {
            tracing::warn!(error = %error_chain::of(&error), "the change log cannot be purged");
        }
    }

    fn out_of_touch(&mut self, events: &broadcast::Sender<Event>, error: &StoreError) {
        // The store that answers next may be another server.
        self.owed.get_or_insert(Reason::Outage);
        metrics::failed();
        tracing::warn!(error = %error_chain::of(error), "the change log cannot be read");
        if !self.stale && self.contact.elapsed() >= self.settings.staleness_max {
            self.stale = true;
            metrics::stale(true);
            let _ = events.send(Event::Stale);
        }
    }
}

#[cfg(test)]
mod tests;
