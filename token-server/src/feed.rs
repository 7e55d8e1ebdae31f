//! Changes to the store, as they happen: to the caches and to the trust stream.
//!
//! The change log is the only source, whichever process made the change: this one (which wakes the follower at
//! once), another replica, or a command on the same file (which the poll finds). The follower delivers a change
//! before it advances, so a failure or a cancellation repeats a change and never skips one.
//!
//! | what happens | event |
//! |---|---|
//! | a change is in the log | `Changed` |
//! | a change of a kind that this version does not know | `Resync` |
//! | the log was unreachable for a moment, or the connection was lost on which changes are announced | `Resync` |
//! | the log is not the one that was followed: restored, failed over, another database | `Resync` |
//! | nothing for ten minutes | `Resync` |
//! | the log is unreachable for longer than memory may be trusted | `Stale` |

mod position;
mod told;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::broadcast,
    time::{Instant, sleep, timeout},
};

use self::{position::Position, told::Reason};
use crate::{
    error_chain,
    store::{Change, ChangeKind, ChangeLog, StoreError},
};

/// Changes read in one query.
const BATCH: u32 = 500;
/// Events that a subscriber may lag behind before it gets `Resync` in their place.
const BACKLOG: usize = 1024;
/// How long the follower waits for one answer of the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// Changes are kept for this long. A follower that was away for longer misses the row that it remembers, and resyncs.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often each process purges the log.
const PURGE_INTERVAL: Duration = Duration::from_secs(3600);
/// Without a reason, subscribers read everything anew this often: no difference between memory and store lasts longer,
/// whatever caused it.
const RESYNC_INTERVAL: Duration = Duration::from_secs(600);
/// Between two resyncs for lost connections: a connection that comes and goes must not keep the store busy.
const RESYNC_PAUSE: Duration = Duration::from_secs(10);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something changed; the new state is read from the store.
    Changed(ChangeKind),
    /// Changes may have been missed: everything may have changed.
    Resync,
    /// The store has been unreachable for longer than memory may be trusted.
    Stale,
}

/// How the feed follows the log.
#[derive(Clone, Copy, Debug)]
pub struct FeedSettings {
    /// How often it polls for other processes' changes.
    pub poll_interval: Duration,
    /// For how long memory may be trusted while the store is unreachable.
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
        let connections_lost = log.connections_lost();
        let position = answered(Position::at_end(&*log)).await?;
        told::reached(position.sequence());
        told::stale(false);
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
    /// Moves together with the delivery, never ahead of it.
    position: Position,
    /// As the store counted them when the follower last asked.
    connections_lost: u64,
    /// Why subscribers are still to be told to read everything anew.
    owed: Option<Reason>,
    started: Instant,
    /// When they last were.
    resynced: Option<Instant>,
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
            match self.catch_up(&events).await {
                Ok(()) => {
                    self.in_touch(&events);
                    self.purge().await;
                }
                // The last handle has gone meanwhile, and whoever held it has closed the store.
                Err(_) if Arc::strong_count(&events) == 1 => return,
                Err(error) => self.out_of_touch(&events, &error),
            }
        }
    }

    /// Reads and delivers what is new, a page at a time. A failure leaves the position at the last delivered change.
    async fn catch_up(&mut self, events: &broadcast::Sender<Event>) -> Result<(), StoreError> {
        loop {
            let page = answered(self.log.changes_from(self.position.sequence(), BATCH)).await?;
            let more = page.changes.len() >= BATCH as usize;
            let Some(news) = self.position.news(page) else {
                tracing::warn!("the change log is not the one that was followed; everything is read anew");
                // First the position, then the event: what changes in between is read twice.
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

    /// A change without a listener is no failure: a subscriber that comes later reads what it needs.
    fn deliver(&mut self, events: &broadcast::Sender<Event>, news: Vec<Change>) {
        let mut unknown = false;
        for change in news {
            match &change.kind {
                Some(kind) => {
                    told::changed(kind);
                    let _ = events.send(Event::Changed(kind.clone()));
                }
                None => unknown = true,
            }
            self.position.advance(change);
        }
        if unknown {
            self.resync(events, Reason::UnknownKind);
        }
        told::reached(self.position.sequence());
    }

    fn resync(&mut self, events: &broadcast::Sender<Event>, reason: Reason) {
        (self.owed, self.resynced) = (None, Some(Instant::now()));
        told::resynced(reason);
        let _ = events.send(Event::Resync);
    }

    fn in_touch(&mut self, events: &broadcast::Sender<Event>) {
        let was_stale = std::mem::replace(&mut self.stale, false);
        self.contact = Instant::now();
        told::stale(false);
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

    /// The first replica to get here does it for all.
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
        // The store that answers next may be another server than before.
        self.owed.get_or_insert(Reason::Outage);
        told::failed();
        tracing::warn!(error = %error_chain::of(error), "the change log cannot be read");
        if !self.stale && self.contact.elapsed() >= self.settings.staleness_max {
            self.stale = true;
            told::stale(true);
            let _ = events.send(Event::Stale);
        }
    }
}

/// A store that does not answer in time is unavailable.
async fn answered<T>(answer: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    timeout(PATIENCE, answer).await.unwrap_or_else(|elapsed| Err(StoreError::unavailable(elapsed)))
}

#[cfg(test)]
mod tests;
