//! The pause after a failure: a pure function of the number of failures and one random draw.

use std::time::Duration;

/// The shortest pause, for any draw: a source that fails at once is not asked in a busy loop.
pub(super) const PAUSE_MIN: Duration = Duration::from_millis(50);
const TRANSIENT_FIRST: Duration = Duration::from_millis(100);
const TRANSIENT_MAX: Duration = Duration::from_secs(30);
const REFUSED_FIRST: Duration = Duration::from_secs(1);
const REFUSED_MAX: Duration = Duration::from_secs(60);
/// The longest pause that a server may demand. It may be a mistake, and no operator may be there to correct
/// it.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// The longest random addition to the server's pause, so that a fleet does not return at once.
const RETRY_AFTER_SPREAD_MAX: Duration = Duration::from_secs(1);

/// Returns the pause after the `failures`th transient failure in a row: full jitter over 100 ms, doubling up
/// to 30 s. `draw` is uniform in `0.0..1.0`.
pub(super) fn transient(failures: u32, draw: f64) -> Duration {
    doubled(TRANSIENT_FIRST, failures, TRANSIENT_MAX).mul_f64(draw).max(PAUSE_MIN)
}

/// Returns the time for which the `failures`th refusal in a row is cached: 1 s, doubling up to 60 s, never
/// forever.
pub(super) fn refused(failures: u32, draw: f64) -> Duration {
    doubled(REFUSED_FIRST, failures, REFUSED_MAX).mul_f64(1.0 + draw / 4.0).min(REFUSED_MAX)
}

/// Returns the pause that the server demands (`RetryInfo`, `Retry-After`), bounded.
pub(super) fn asked_for(retry_after: Duration, draw: f64) -> Duration {
    let pause = retry_after.min(RETRY_AFTER_MAX);
    pause + (pause / 10).min(RETRY_AFTER_SPREAD_MAX).mul_f64(draw)
}

fn doubled(first: Duration, failures: u32, max: Duration) -> Duration {
    first.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transient_failures_back_off_from_100_ms_to_30_s() {
        let ceilings: Vec<u128> = (1..=11).map(|n| transient(n, 1.0).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
        assert_eq!(transient(u32::MAX, 1.0), Duration::from_secs(30));
    }

    #[test]
    fn the_jitter_is_full_but_never_a_busy_loop() {
        assert_eq!(transient(9, 0.5), Duration::from_millis(12_800));
        assert_eq!(transient(9, 0.0), PAUSE_MIN);
    }

    #[test]
    fn refusals_are_remembered_from_1_s_to_60_s() {
        let remembered: Vec<u64> = (1..=8).map(|n| refused(n, 0.0).as_secs()).collect();
        assert_eq!(remembered, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(refused(u32::MAX, 1.0), Duration::from_secs(60));
    }

    #[test]
    fn what_the_server_asks_for_is_a_floor_within_reason() {
        assert_eq!(asked_for(Duration::from_secs(7), 0.0), Duration::from_secs(7));
        assert!(asked_for(Duration::from_secs(7), 1.0) < Duration::from_secs(8));
        assert_eq!(asked_for(Duration::from_secs(86_400), 0.0), RETRY_AFTER_MAX);
    }
}
