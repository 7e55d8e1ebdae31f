//! The error of this machine's clock, measured against the issuer's.
//!
//! Renewal does not depend on it, as lifetimes are counted from the request. But verifiers of this machine's
//! signatures and readers of its logs do.

use std::time::SystemTime;

use crate::source::TokenRequest;

/// The skew that is worth a log line. Synchronized clocks are right within a second, and verifiers commonly
/// tolerate less than this.
const NOTEWORTHY_MILLIS: i64 = 30_000;

/// Returns the lead of the server's clock. Half of the round trip is tolerated.
pub(super) fn millis(server_time: Option<SystemTime>, asked_at: SystemTime, now: SystemTime) -> Option<i64> {
    let round_trip = now.duration_since(asked_at).ok()?;
    let middle = asked_at.checked_add(round_trip / 2)?;
    let ahead = |of: std::time::Duration| i64::try_from(of.as_millis()).ok();
    match server_time?.duration_since(middle) {
        Ok(difference) => ahead(difference),
        Err(error) => ahead(error.duration()).map(|millis| -millis),
    }
}

/// Logs once when the clock is found to be wrong, and once when it is right again.
pub(super) fn report(skew: i64, before: i64, request: &TokenRequest) {
    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
    metrics::gauge!("token_client_clock_skew_seconds").set(skew as f64 / 1000.0);
    let (is, was) = (skew.abs() >= NOTEWORTHY_MILLIS, before.abs() >= NOTEWORTHY_MILLIS);
    if is && !was {
        tracing::warn!(skew_millis = skew, %request, "this machine's clock is wrong: the issuer's is ahead by skew_millis");
    } else if was && !is {
        tracing::info!(skew_millis = skew, %request, "this machine's clock agrees with the issuer's again");
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOON: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn a_slow_and_a_fast_clock_are_told_apart() {
        let noon = NOON + Duration::from_secs(43_200);
        let now = noon + Duration::from_secs(2);
        assert_eq!(millis(Some(noon + Duration::from_secs(601)), noon, now), Some(600_000));
        assert_eq!(millis(Some(noon - Duration::from_secs(599)), noon, now), Some(-600_000));
    }

    #[test]
    fn nothing_is_said_without_the_servers_time_or_when_the_clock_was_set_back_meanwhile() {
        assert_eq!(millis(None, NOON, NOON), None);
        assert_eq!(millis(Some(NOON), NOON + Duration::from_secs(1), NOON), None);
    }
}
