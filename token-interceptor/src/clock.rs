//! The injected clock and randomness: the only place that reads the wall clock.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use ring::rand::{SecureRandom as _, SystemRandom};

/// The last second of the year 9999, as in `google.protobuf.Timestamp`. Later times overflow in arithmetic.
pub const NUMERIC_DATE_MAX: u64 = 253_402_300_799;

/// A source of the time of day.
///
/// It is read once per request and the time is passed down. Nothing below a request's entry reads it again.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Returns the time of day on this machine.
    fn now(&self) -> SystemTime;

    /// Returns a number in `0.0..1.0`, which spreads renewals and retries of a fleet. Without system
    /// randomness it returns the middle, which only costs spread.
    fn draw(&self) -> f64 {
        let mut bytes = [0; 4];
        match SystemRandom::new().fill(&mut bytes) {
            Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
            Err(_) => 0.5,
        }
    }
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// Returns the system clock as a shared value.
    #[must_use]
    pub fn shared() -> Arc<dyn Clock> {
        Arc::new(Self)
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine's clock is read")]
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// Returns `time` as a NumericDate (RFC 7519 section 2), in whole seconds; 0 for a time before 1970.
#[must_use]
pub fn numeric_date(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Returns the NumericDate of a JSON number with a fraction (RFC 7519 section 2), rounded to whole seconds.
/// Returns `None` for a time before 1970 or beyond the year 9999.
#[must_use]
pub fn numeric_date_of(seconds: f64, round_up: bool) -> Option<u64> {
    // Rounded up, half a second before 1970 would be 1970.
    if seconds < 0.0 {
        return None;
    }
    let whole = if round_up { seconds.ceil() } else { seconds.floor() };
    let seconds = Duration::try_from_secs_f64(whole).ok()?.as_secs();
    (seconds <= NUMERIC_DATE_MAX).then_some(seconds)
}
