//! A clock that stands still until it is set.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::clock::Clock;

/// A clock that the test controls. It begins at 2026-01-01T00:00:00Z.
#[derive(Debug)]
pub struct FakeClock(AtomicU64);

const START_MILLIS: u64 = 1_767_225_600_000;

impl FakeClock {
    /// Advances the time in one step.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(millis(by), Ordering::SeqCst);
    }

    /// Sets the clock back, as an operator may do with a real one.
    pub fn rewind(&self, by: Duration) {
        self.0.fetch_sub(millis(by), Ordering::SeqCst);
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self(AtomicU64::new(START_MILLIS))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.load(Ordering::SeqCst))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}
