//! The schedule of key set fetches: pure functions of past events and `now`.
//!
//! * A set is fetched again once it is as old as `max_age`.
//! * After a failure it is retried: quickly while there is no set at all, else no sooner than `cooldown`.
//! * An unknown key causes a fetch at once, but no sooner than `cooldown` after the last such fetch ended. So
//!   a flood of invented key IDs costs one fetch per `cooldown`, and the first token of a new key finds it.

use std::time::Duration;

use tokio::time::Instant;

/// The first pause after a failure while there is no set.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause while there is no set: every call is rejected meanwhile.
const EMPTY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The longest pause while an old set is used.
const STALE_PAUSE_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Schedule {
    max_age: Duration,
    cooldown: Duration,
    /// The time of the next regular fetch.
    due: Instant,
    /// The time before which an unknown key causes no fetch.
    quiet_until: Option<Instant>,
    in_flight: Option<Cause>,
    /// True if an unknown key requested a fetch that has not begun.
    wanted: bool,
    failures: u32,
    holds_a_set: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Age,
    UnknownKey,
}

/// The verdict on a token whose key is not in the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnknownKey {
    /// A fetch is in flight or begins now. Check again when it has ended.
    Wait,
    /// The set was fetched just now, and there is no such key.
    Refuse,
    /// The last fetch failed just now, so the key may exist.
    Unavailable { retry_after: Duration },
}

impl Schedule {
    pub(super) fn new(max_age: Duration, cooldown: Duration, now: Instant) -> Self {
        Self {
            max_age,
            cooldown,
            due: now,
            quiet_until: None,
            in_flight: None,
            wanted: false,
            failures: 0,
            holds_a_set: false,
        }
    }

    /// Returns the time to call [`Schedule::begin`]. It may be in the past.
    pub(super) fn next(&self, now: Instant) -> Instant {
        if self.wanted { now } else { self.due }
    }

    pub(super) fn begin(&mut self) {
        self.in_flight = Some(if self.wanted { Cause::UnknownKey } else { Cause::Age });
        self.wanted = false;
    }

    pub(super) fn succeeded(&mut self, now: Instant) {
        if self.in_flight.take() == Some(Cause::UnknownKey) {
            self.quiet_until = now.checked_add(self.cooldown);
        }
        self.failures = 0;
        self.holds_a_set = true;
        self.due = later(now, self.max_age);
    }

    /// `jitter` is random, 0 to 1, so that many verifiers of one issuer do not retry at once.
    pub(super) fn failed(&mut self, now: Instant, jitter: f64) {
        self.in_flight = None;
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let pause = if self.holds_a_set {
            doubled.min(STALE_PAUSE_MAX).max(self.cooldown)
        } else {
            doubled.min(EMPTY_PAUSE_MAX)
        };
        self.quiet_until = now.checked_add(self.cooldown);
        let spread = pause.min(STALE_PAUSE_MAX).mul_f64(jitter.clamp(0.0, 1.0) / 4.0);
        self.due = later(now, pause.saturating_add(spread));
    }

    /// Records that the fetching task is gone, along with its fetch.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if self.in_flight.take().is_some() {
            self.due = now;
        }
    }

    pub(super) fn unknown_key(&mut self, now: Instant) -> UnknownKey {
        if self.in_flight.is_some() || self.wanted || self.due <= now {
            return UnknownKey::Wait;
        }
        if let Some(quiet) = self.quiet_until.map(|until| until.saturating_duration_since(now))
            && !quiet.is_zero()
        {
            let next_fetch = quiet.min(self.due.saturating_duration_since(now));
            return match self.failures {
                0 => UnknownKey::Refuse,
                _ => UnknownKey::Unavailable { retry_after: next_fetch },
            };
        }
        self.wanted = true;
        UnknownKey::Wait
    }
}

/// Returns `now` plus `pause`, or a century later where the clock cannot represent it.
fn later(now: Instant, pause: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(pause).unwrap_or(now + CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// `max_age` 300 s, `cooldown` 5 s, a set fetched at `start`.
    fn holding(start: Instant) -> Schedule {
        let mut schedule = Schedule::new(300 * SECOND, 5 * SECOND, start);
        schedule.begin();
        schedule.succeeded(start);
        schedule
    }

    #[test]
    fn fetches_at_once_and_again_after_max_age() {
        let start = Instant::now();
        assert_eq!(Schedule::new(300 * SECOND, 5 * SECOND, start).next(start), start);
        assert_eq!(holding(start).next(start), start + 300 * SECOND);
    }

    #[test]
    fn an_unknown_key_causes_one_fetch_per_cooldown() {
        let start = Instant::now();
        let mut schedule = holding(start);
        let (mut now, mut fetches) = (start, Vec::new());
        while now < start + 20 * SECOND {
            if schedule.unknown_key(now) == UnknownKey::Wait {
                fetches.push(now);
                schedule.begin();
                schedule.succeeded(now);
            }
            now += Duration::from_millis(10);
        }
        assert_eq!(fetches, [0, 5, 10, 15].map(|at| start + at * SECOND));
    }

    #[test]
    fn within_the_cooldown_an_unknown_key_is_refused_if_the_set_is_fresh() {
        let start = Instant::now();
        let mut schedule = holding(start);
        assert_eq!(schedule.unknown_key(start), UnknownKey::Wait);
        schedule.begin();
        schedule.succeeded(start);
        assert_eq!(schedule.unknown_key(start + SECOND), UnknownKey::Refuse);
    }

    #[test]
    fn within_the_cooldown_an_unknown_key_is_unavailable_if_the_fetch_failed() {
        let start = Instant::now();
        let mut schedule = holding(start);
        schedule.unknown_key(start);
        schedule.begin();
        schedule.failed(start, 0.0);
        let verdict = schedule.unknown_key(start + SECOND);
        assert_eq!(verdict, UnknownKey::Unavailable { retry_after: 4 * SECOND });
    }

    #[test]
    fn a_failing_issuer_is_asked_at_most_twice_in_ten_seconds_while_a_set_serves() {
        let start = Instant::now();
        let mut schedule = holding(start);
        let (mut now, mut fetches) = (start, Vec::new());
        while now < start + 100 * SECOND {
            schedule.unknown_key(now);
            if schedule.next(now) <= now {
                fetches.push(now);
                schedule.begin();
                schedule.failed(now, 0.0);
            }
            now += Duration::from_millis(10);
        }
        for (index, fetch) in fetches.iter().enumerate() {
            let within = fetches.iter().skip(index).filter(|other| **other < *fetch + 10 * SECOND).count();
            assert!(within <= 2, "{within} fetches within ten seconds");
        }
    }

    #[test]
    fn without_a_set_the_pause_never_exceeds_seven_seconds() {
        let start = Instant::now();
        let mut schedule = Schedule::new(300 * SECOND, 60 * SECOND, start);
        for _ in 0..40 {
            schedule.begin();
            schedule.failed(start, 1.0);
            assert!(schedule.next(start) <= start + 7 * SECOND);
        }
    }

    #[test]
    fn a_fetch_by_age_leaves_an_unknown_key_its_own() {
        let start = Instant::now();
        let mut schedule = holding(start);
        assert_eq!(schedule.unknown_key(start + SECOND), UnknownKey::Wait);
    }

    #[test]
    fn an_endless_max_age_does_not_overflow() {
        let start = Instant::now();
        let mut schedule = Schedule::new(Duration::MAX, Duration::MAX, start);
        schedule.begin();
        schedule.failed(start, 1.0);
        schedule.begin();
        schedule.succeeded(start);
        schedule.begin();
        schedule.failed(start, 1.0);
        schedule.unknown_key(start);
    }
}
