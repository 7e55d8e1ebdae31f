//! Times as they are stored: whole milliseconds since 1970.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Returns milliseconds since 1970. An earlier time is 0; one that does not fit is the greatest `i64`.
#[must_use]
pub fn to_millis(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Returns the time that many milliseconds after 1970. A negative number gives 1970.
#[must_use]
pub fn from_millis(millis: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(millis).unwrap_or(0));
    SystemTime::UNIX_EPOCH.checked_add(since).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns `time` at the precision in which it is stored.
#[must_use]
pub fn stored(time: SystemTime) -> SystemTime {
    from_millis(to_millis(time))
}

/// Serializes a time, for `#[serde(with)]`.
pub(crate) fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    to_millis(*time).serialize(serializer)
}

/// Deserializes a time, for `#[serde(with)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    i64::deserialize(deserializer).map(from_millis)
}

/// For `#[serde(with)]` on a time that may be absent.
pub(crate) mod optional {
    use super::{Deserialize, Deserializer, Serialize, Serializer, SystemTime, from_millis, to_millis};

    pub(crate) fn serialize<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(to_millis).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
        Ok(Option::<i64>::deserialize(deserializer)?.map(from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_survives_storing_to_the_millisecond() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(to_millis(time), 1_700_000_000_123);
        assert_eq!(from_millis(to_millis(time)), stored(time));
    }

    #[test]
    fn a_time_before_1970_reads_1970() {
        assert_eq!(to_millis(SystemTime::UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(from_millis(-1), SystemTime::UNIX_EPOCH);
    }
}
