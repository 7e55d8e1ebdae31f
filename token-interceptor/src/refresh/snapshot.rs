//! What calls read: an immutable picture of where the token stands.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use tokio::time::Instant;

use super::TokenError;
use crate::source::{AccessToken, SourceError};

/// A token in use; its generation tells whether a rejection of it is news.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) token: AccessToken,
    pub(crate) generation: u64,
}

/// What a call is to do.
#[derive(Debug)]
pub(super) enum Verdict {
    Use(Ready),
    Fail(TokenError),
    Wait,
}

/// Where the token stands.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) current: Option<Current>,
    /// What a call without a token is told.
    pub(super) failure: Option<Failure>,
    /// A request is in flight.
    pub(super) in_flight: bool,
    /// The generation of the newest token that there has been.
    pub(super) generation: u64,
    /// The newest generation whose rejection the task has taken in.
    pub(super) rejected: u64,
    /// The task has ended: nothing changes any more unless it is started again.
    pub(super) stopped: bool,
    pub(super) nudged: AtomicBool,
    pub(super) used: AtomicBool,
}

/// The token in hand and its times by the time of day.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) ready: Ready,
    pub(super) renew_at: SystemTime,
    pub(super) expires_at: SystemTime,
}

/// The last failure, shared by all who hear of it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) source: Arc<SourceError>,
    pub(super) retry_at: Instant,
}

/// Whether a call may go out with the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// Good, and due for renewal.
    Due,
    Expired,
}

impl Current {
    pub(super) fn freshness(&self, now: SystemTime) -> Freshness {
        if now < self.renew_at {
            Freshness::Fresh
        } else if now < self.expires_at {
            Freshness::Due
        } else {
            Freshness::Expired
        }
    }
}

impl Snapshot {
    /// What remains when the task has ended, or another one begins: the token, and the count.
    pub(super) fn remains(&self, stopped: bool) -> Self {
        Self {
            current: self.current.clone(),
            generation: self.generation,
            rejected: self.rejected,
            stopped,
            ..Self::default()
        }
    }

    /// True once: the first call that finds the token due wakes the task, the others need not.
    pub(super) fn nudge(&self) -> bool {
        !self.nudged.load(Ordering::Relaxed) && !self.nudged.swap(true, Ordering::Relaxed)
    }

    /// Reads before it writes: the flag's cache line stays shared between cores.
    pub(super) fn mark_used(&self) {
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_used(&self) -> bool {
        self.used.load(Ordering::Relaxed)
    }

    /// The token, where it may be used and is newer than the rejected one.
    pub(super) fn usable(&self, rejected: u64, now: SystemTime) -> Option<&Ready> {
        let current = self.current.as_ref()?;
        let good = current.ready.generation > rejected && current.freshness(now) != Freshness::Expired;
        good.then_some(&current.ready)
    }
}
