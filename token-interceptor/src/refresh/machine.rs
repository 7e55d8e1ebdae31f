//! The state machine that renews one token.
//!
//! It is pure and synchronous: it takes the time and an event, and returns the next action. It knows times
//! only, never the token. [`super::task`] is the asynchronous shell around it.
//!
//! It watches two clocks, and a time has come when either has reached it. Monotonic time stands still while a
//! machine is suspended, and the wall clock may be set back.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{backoff, pace::Pace};

/// The longest use of a token, even if its issuer states a longer lifetime.
const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// The time for which calls wait while the source returns expired tokens. A source with a cache may return
/// the old one until its last second. After that it is an outage, and calls fail at once.
const EXPIRED_PATIENCE: Duration = Duration::from_secs(5);
/// The longest pause between two such requests.
const EXPIRED_PAUSE_MAX: Duration = Duration::from_secs(1);

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    pub(crate) monotonic: Instant,
    pub(crate) wall: SystemTime,
}

impl Now {
    pub(super) fn plus(self, duration: Duration) -> Self {
        // Times from other parties are bounded, so that no clock overflows.
        let duration = duration.min(LIFETIME_MAX);
        Self {
            monotonic: self.monotonic.checked_add(duration).unwrap_or(self.monotonic),
            wall: self.wall.checked_add(duration).unwrap_or(self.wall),
        }
    }

    pub(super) fn has_reached(self, moment: Self) -> bool {
        self.monotonic >= moment.monotonic || self.wall >= moment.wall
    }
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// The time of [`Next::wake`] has come.
    Woke,
    /// A call finds no usable token, or sees that renewal is due.
    Wanted,
    /// A server refused the token of this generation.
    Rejected(u64),
    /// The source returned a token.
    Fetched(Fetched),
    /// The source failed.
    Failed(Failed),
}

/// The source's statements about a token's times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fetched {
    /// The time of the request. The lifetime counts from here, so it is never too long.
    pub(crate) asked_at: Now,
    /// The token's lifetime.
    pub(crate) expires_in: Duration,
    /// The time after which the server wants it renewed.
    pub(crate) refresh_after: Option<Duration>,
}

/// The source's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// True if the source refused the request.
    pub(crate) refused: bool,
    /// True if the source returned a token that had expired on arrival.
    pub(crate) expired: bool,
    /// The pause that the source demands.
    pub(crate) retry_after: Option<Duration>,
}

/// The next action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    /// True to request a token now. Only while no request is in flight.
    pub(crate) fetch: bool,
    /// Report [`Event::Woke`] at this time, unless something else happens first.
    pub(crate) wake: Option<Instant>,
}

/// The policy of renewal ahead of expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Always: a call never finds it expired.
    Always,
    /// Only while in use: for tokens of callers, whose number is unbounded.
    WhileUsed,
}

/// The current token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The number of the token, counting up.
    pub(crate) generation: u64,
    /// The time at which renewal is due.
    pub(crate) renew_at: Now,
    /// The time from which it must not be used.
    pub(crate) expires_at: Now,
    rejected: bool,
}

#[derive(Clone, Copy, Debug)]
struct Trouble {
    refused: bool,
    failures: u32,
    retry_at: Instant,
    /// True if calls wait for a new answer and do not get this one: a refusal whose time is over, or an
    /// expired token.
    forgotten: bool,
    /// The time since which the source returns expired tokens.
    expired_since: Option<Instant>,
}

/// The state machine; see the module.
#[derive(Debug)]
pub(crate) struct Machine {
    keep: Keep,
    generation: u64,
    held: Option<Held>,
    in_flight: Option<Instant>,
    trouble: Option<Trouble>,
    pace: Pace,
    rejected: u64,
    wanted: bool,
    used: bool,
}

impl Machine {
    /// Creates a machine without a token, which continues the count of an earlier one.
    pub(crate) fn new(keep: Keep, generation: u64, rejected: u64) -> Self {
        Self {
            keep,
            generation,
            held: None,
            in_flight: None,
            trouble: None,
            pace: Pace::default(),
            rejected,
            wanted: false,
            used: false,
        }
    }

    /// Returns the current token, while it is valid.
    pub(crate) fn held(&self) -> Option<Held> {
        self.held
    }

    /// Returns the generation of the newest token so far.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Returns the time of the next request. Until its answer, a call without a token fails with the last
    /// failure. `None`: the call waits.
    pub(crate) fn blamed_until(&self) -> Option<Instant> {
        self.trouble.filter(|trouble| !trouble.forgotten).map(|trouble| trouble.retry_at)
    }

    /// Returns the newest generation whose rejection has been handled.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected
    }

    /// Returns true if a request is in flight.
    pub(crate) fn in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Records that a call used the token since the last event.
    pub(crate) fn mark_used(&mut self) {
        self.used = true;
    }

    /// Handles an event and returns the next action. `draw` is uniform in `0.0..1.0`.
    pub(crate) fn handle(&mut self, event: Event, now: Now, draw: f64) -> Next {
        match event {
            Event::Woke => {}
            Event::Wanted => self.wanted |= self.held.is_none_or(|held| now.has_reached(held.renew_at)),
            Event::Rejected(generation) => self.reject(generation),
            Event::Fetched(fetched) => self.accept(&fetched, draw),
            Event::Failed(failed) => self.fail(&failed, now, draw),
        }
        self.pass_time(now);
        let fetch = self.in_flight.is_none() && self.wanted && now.monotonic >= self.blocked_until(now);
        if fetch {
            self.begin(now);
        }
        Next { fetch, wake: self.wake(now) }
    }

    fn reject(&mut self, generation: u64) {
        if generation <= self.rejected {
            return;
        }
        self.rejected = generation;
        if let Some(held) = self.held.as_mut().filter(|held| held.generation == generation) {
            held.rejected = true;
            self.wanted = true;
        }
    }

    fn accept(&mut self, fetched: &Fetched, draw: f64) {
        self.generation += 1;
        let renew_after = renew_after(fetched, draw);
        self.held = Some(Held {
            generation: self.generation,
            renew_at: fetched.asked_at.plus(renew_after),
            expires_at: fetched.asked_at.plus(fetched.expires_in),
            rejected: false,
        });
        self.in_flight = None;
        self.trouble = None;
        self.wanted = false;
        self.used = false;
    }

    fn fail(&mut self, failed: &Failed, now: Now, draw: f64) {
        let began = self.in_flight.take().unwrap_or(now.monotonic);
        let before = self.trouble.filter(|trouble| trouble.refused == failed.refused);
        let failures = before.map_or(0, |trouble| trouble.failures).saturating_add(1);
        let before = before.and_then(|trouble| trouble.expired_since);
        let expired_since = failed.expired.then(|| before.unwrap_or(now.monotonic));
        let patient = expired_since.is_some_and(|since| now.monotonic.duration_since(since) < EXPIRED_PATIENCE);
        let mut retry_at = if failed.refused {
            now.monotonic + backoff::refused(failures, draw)
        } else {
            // Counted from the start of the attempt: one that hung has already waited.
            let pause = backoff::transient(failures, draw);
            let pause = if patient { pause.min(EXPIRED_PAUSE_MAX) } else { pause };
            (began + pause).max(now.monotonic + backoff::PAUSE_MIN)
        };
        if let Some(retry_after) = failed.retry_after {
            retry_at = retry_at.max(now.monotonic + backoff::asked_for(retry_after, draw));
        }
        self.trouble = Some(Trouble { refused: failed.refused, failures, retry_at, forgotten: patient, expired_since });
        // After a refusal, the next request waits until a call needs a token.
        self.wanted &= !failed.refused;
    }

    /// Applies the changes that time alone causes.
    fn pass_time(&mut self, now: Now) {
        if let Some(held) = self.held.filter(|held| now.has_reached(held.expires_at)) {
            self.held = None;
            // Only the wall clock has reached it: the machine was suspended, and earlier failures no longer
            // matter.
            if now.monotonic < held.expires_at.monotonic {
                self.trouble = self.trouble.filter(|trouble| trouble.refused);
            }
        }
        if let Some(trouble) = self.trouble.as_mut().filter(|trouble| trouble.refused) {
            trouble.forgotten |= now.monotonic >= trouble.retry_at;
        }
        let due = self.held.is_some_and(|held| now.has_reached(held.renew_at));
        let refused = self.trouble.is_some_and(|trouble| trouble.refused);
        self.wanted |= due && !refused && (self.used || self.keep == Keep::Always);
    }

    fn blocked_until(&self, now: Now) -> Instant {
        let trouble = self.trouble.map_or(now.monotonic, |trouble| trouble.retry_at);
        // A token that is due is renewed, rejected or not.
        let paced = self.held.is_some_and(|held| held.rejected && !now.has_reached(held.renew_at));
        if paced { trouble.max(self.pace.allowed_at(now.monotonic)) } else { trouble }
    }

    fn begin(&mut self, now: Now) {
        if self.held.is_some_and(|held| held.rejected) {
            self.pace.begin(now.monotonic);
        }
        self.in_flight = Some(now.monotonic);
    }

    fn wake(&self, now: Now) -> Option<Instant> {
        let expiry = self.held.map(|held| held.expires_at.monotonic);
        let idle = self.in_flight.is_none();
        let renewal = self.held.filter(|held| idle && !now.has_reached(held.renew_at));
        let renewal = renewal.map(|held| held.renew_at.monotonic);
        let retry = (idle && self.wanted).then(|| self.blocked_until(now));
        let forget = self.trouble.filter(|trouble| trouble.refused && !trouble.forgotten);
        let forget = forget.map(|trouble| trouble.retry_at);
        [expiry, renewal, retry, forget].into_iter().flatten().min()
    }
}

/// Returns the time of renewal, counted from the request.
///
/// It is the server's, if that is plausible; the server spreads a fleet by itself. Otherwise it is between 65
/// and 80 % of the lifetime: early enough to survive an outage, late enough not to double the load.
fn renew_after(fetched: &Fetched, draw: f64) -> Duration {
    let lifetime = fetched.expires_in.min(LIFETIME_MAX);
    let asked_for = fetched.refresh_after.filter(|after| !after.is_zero() && *after < lifetime);
    let after = asked_for.unwrap_or_else(|| lifetime.mul_f64(0.65 + 0.15 * draw));
    after.max(Duration::from_secs(1).min(lifetime / 2))
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
