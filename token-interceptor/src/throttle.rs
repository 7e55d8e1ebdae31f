//! A per-second bound on log lines that attackers can cause.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use crate::clock::numeric_date;

/// The lines in one second, at the most: enough to see a fault, too few to fill a disk overnight.
const LINES_PER_SECOND: u64 = 10;
/// The bits of the packed state that count the lines of the second.
const COUNT_BITS: u32 = 16;

/// Counts the lines of the current second, and those left out since the last one.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The second, and the lines in it.
    state: AtomicU64,
    left_out: AtomicU64,
}

impl Throttle {
    /// Returns `Some` if a line may be written now, with the number of lines left out before it.
    pub(crate) fn admit(&self, now: SystemTime) -> Option<u64> {
        let second = numeric_date(now) << COUNT_BITS;
        let counted = self.state.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let lines = if state >> COUNT_BITS << COUNT_BITS == second { state - second } else { 0 };
            (lines < LINES_PER_SECOND).then_some(second + lines + 1)
        });
        if counted.is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines_of_a_flood_are_bounded_and_those_left_out_counted() {
        let throttle = Throttle::default();
        let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        for flood in [1_000_u64, 100_000] {
            let now = start + Duration::from_secs(flood);
            let written = (0..flood).filter(|_| throttle.admit(now).is_some()).count();
            assert_eq!(written, 10, "{flood}");
            let left_out = throttle.admit(now + Duration::from_secs(1));
            assert_eq!(left_out, Some(flood - 10));
        }
        // After the clock was set back, lines are still written.
        assert_eq!(throttle.admit(start), Some(0));
    }
}
