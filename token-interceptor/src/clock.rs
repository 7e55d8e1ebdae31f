//! Time, injected: the only place that reads the wall clock.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// The last second of the year 9999, as in `google.protobuf.Timestamp`: beyond it arithmetic goes wrong.
pub const NUMERIC_DATE_MAX: u64 = 253_402_300_799;

/// Where the time of day comes from.
///
/// Read once per request and handed down; nothing below a request's entry asks again.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The time of day, as this machine believes it to be.
    fn now(&self) -> SystemTime;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl SystemClock {
    /// The clock as a shared value.
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

/// `time` as a NumericDate (RFC 7519 section 2), in whole seconds; 0 for a time before 1970.
#[must_use]
pub fn numeric_date(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The NumericDate of a JSON number with a fraction (RFC 7519 section 2), rounded to whole seconds; `None` for one
/// before 1970 or beyond the year 9999.
#[must_use]
pub fn numeric_date_of(seconds: f64, round_up: bool) -> Option<u64> {
    let whole = if round_up { seconds.ceil() } else { seconds.floor() };
    let seconds = Duration::try_from_secs_f64(whole).ok()?.as_secs();
    (seconds <= NUMERIC_DATE_MAX).then_some(seconds)
}
