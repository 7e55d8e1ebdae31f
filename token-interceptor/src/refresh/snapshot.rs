//! The snapshot that calls read: the immutable state of the token.

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

/// A token in use. Its generation tells if a rejection of it is news.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    pub(crate) token: AccessToken,
    pub(crate) generation: u64,
}

/// The action for a call.
#[derive(Debug)]
pub(super) enum Verdict {
    Use(Ready),
    Fail(TokenError),
    Wait,
}

/// The state of the token.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) current: Option<Current>,
    /// The failure for a call without a token.
    pub(super) failure: Option<Failure>,
    /// True if a request is in flight.
    pub(super) in_flight: bool,
    /// The generation of the newest token so far.
    pub(super) generation: u64,
    /// The newest generation whose rejection the task has handled.
    pub(super) rejected: u64,
    /// True once the task has ended: nothing changes until it is started again.
    pub(super) stopped: bool,
    pub(super) nudged: AtomicBool,
    pub(super) used: AtomicBool,
}

/// The current token and its times by the wall clock.
#[derive(Clone, Debug)]
pub(super) struct Current {
    pub(super) ready: Ready,
    pub(super) renew_at: SystemTime,
    pub(super) expires_at: SystemTime,
}

/// The last failure, shared by all calls that get it.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) source: Arc<SourceError>,
    pub(super) retry_at: Instant,
}

/// The freshness of the token for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freshness {
    Fresh,
    /// Valid, and due for renewal.
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
    /// Returns the state for the next task: the token, and the count.
    pub(super) fn remains(&self, stopped: bool) -> Self {
        Self {
            current: self.current.clone(),
            generation: self.generation,
            rejected: self.rejected,
            stopped,
            ..Self::default()
        }
    }

    /// Returns true once: only the first call that finds the token due wakes the task.
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

    /// Returns the token, if it is valid and newer than the rejected one.
    pub(super) fn usable(&self, rejected: u64, now: SystemTime) -> Option<&Ready> {
        let current = self.current.as_ref()?;
        let good = current.ready.generation > rejected && current.freshness(now) != Freshness::Expired;
        good.then_some(&current.ready)
    }
}
