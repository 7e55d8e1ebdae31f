//! The rest of a call's time: `grpc-timeout`. gRPC over HTTP/2, "Timeout".

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The deadline of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline(Instant);

impl Deadline {
    /// Reads the header, counting from now. Returns `None` for a call without a deadline, or with an
    /// unreadable one. The transport then handles it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let timeout = parse(headers.get(GRPC_TIMEOUT)?)?;
        Instant::now().checked_add(timeout).map(Self)
    }

    pub(super) fn at(self) -> Instant {
        self.0
    }

    /// Writes the rest; returns false if there is none.
    pub(super) fn write_rest(self, headers: &mut HeaderMap) -> bool {
        let rest = self.0.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return false;
        }
        headers.insert(GRPC_TIMEOUT, render(rest));
        true
    }
}

fn parse(value: &HeaderValue) -> Option<Duration> {
    let text = value.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Uses the finest unit that fits into the protocol's eight digits. Never rounds up.
fn render(rest: Duration) -> HeaderValue {
    const DIGITS_MAX: u128 = 99_999_999;
    let units = [(rest.as_nanos(), 'n'), (rest.as_micros(), 'u'), (rest.as_millis(), 'm')];
    let fit = units.into_iter().find(|(count, _)| *count <= DIGITS_MAX);
    let (count, unit) = fit.unwrap_or((u128::from(rest.as_secs()).min(DIGITS_MAX), 'S'));
    HeaderValue::try_from(format!("{count}{unit}")).unwrap_or_else(|_| HeaderValue::from_static("1S"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<Duration> {
        parse(&HeaderValue::from_str(text).unwrap())
    }

    #[test]
    fn reads_every_unit() {
        assert_eq!(read("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(read("2M"), Some(Duration::from_secs(120)));
        assert_eq!(read("00000003S"), Some(Duration::from_secs(3)));
        assert_eq!(read("4m"), Some(Duration::from_millis(4)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn what_cannot_be_read_is_no_deadline() {
        for text in ["", "S", "1", "123456789S", "-1S", "+1S", "1.5S", "1s", "1 S"] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_never_more_than_what_is_left(nanos in 1..10_000_000_000_000_000_u64) {
            let rest = Duration::from_nanos(nanos);
            let written = parse(&render(rest)).unwrap();
            prop_assert!(written <= rest);
            prop_assert!(rest - written < Duration::from_secs(1).max(rest / 10_000));
        }
    }
}
