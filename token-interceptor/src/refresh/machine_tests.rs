//! The tests of [`Machine`]: each behaviour, and then all of them under any order of events.

use proptest::prelude::*;

use super::*;

const LIFETIME: Duration = Duration::from_secs(300);

/// A machine whose clocks the test controls.
struct Bench {
    machine: Machine,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        Self::keeping(Keep::Always)
    }

    fn keeping(keep: Keep) -> Self {
        let now = Now { monotonic: Instant::now(), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) };
        Self { machine: Machine::new(keep, 0, 0), now }
    }

    /// Returns a bench with a token of [`LIFETIME`], to be renewed at half of it.
    fn holding() -> Self {
        let mut bench = Self::new();
        assert!(bench.tell(Event::Wanted).fetch);
        bench.fetched();
        bench
    }

    fn tell(&mut self, event: Event) -> Next {
        self.machine.handle(event, self.now, 0.5)
    }

    fn fetched(&mut self) -> Next {
        let fetched = Fetched { asked_at: self.now, expires_in: LIFETIME, refresh_after: Some(LIFETIME / 2) };
        self.tell(Event::Fetched(fetched))
    }

    fn unavailable(&mut self) -> Next {
        self.tell(Event::Failed(Failed { refused: false, expired: false, retry_after: None }))
    }

    fn refused(&mut self) -> Next {
        self.tell(Event::Failed(Failed { refused: true, expired: false, retry_after: None }))
    }

    fn pass(&mut self, time: Duration) -> Next {
        self.now.monotonic += time;
        self.now.wall += time;
        self.tell(Event::Woke)
    }

    fn suspend(&mut self, time: Duration) {
        self.now.wall += time;
    }

    fn wake_in(&self, next: Next) -> Duration {
        next.wake.unwrap() - self.now.monotonic
    }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn the_token_in_hand_serves_to_its_end_while_the_source_caches_it() {
    let mut bench = Bench::holding();
    bench.pass(LIFETIME - secs(1));
    let expired = Event::Failed(Failed { refused: false, expired: true, retry_after: None });
    let next = bench.tell(expired);
    assert!(bench.machine.held().is_some() && bench.machine.blamed_until().is_none());
    assert!(bench.wake_in(next) <= secs(1), "asked again in a moment");
    bench.pass(secs(1));
    assert!(bench.machine.held().is_none() && bench.machine.blamed_until().is_none(), "calls wait");
}

#[test]
fn a_source_that_goes_on_with_expired_tokens_is_an_outage() {
    let mut bench = Bench::new();
    assert!(bench.tell(Event::Wanted).fetch);
    let expired = Event::Failed(Failed { refused: false, expired: true, retry_after: None });
    let mut next = bench.tell(expired);
    let mut asked = 0;
    while bench.machine.blamed_until().is_none() {
        let pause = bench.wake_in(next);
        assert!(pause <= secs(1), "{pause:?}");
        assert!(bench.pass(pause).fetch);
        next = bench.tell(expired);
        asked += 1;
        assert!(asked < 100);
    }
    assert!((3..40).contains(&asked), "{asked}");
    bench.fetched();
    assert!(bench.machine.held().is_some());
}

#[test]
fn a_lifetime_beyond_every_clock_is_a_long_one() {
    for lifetime in [Duration::MAX, secs(u64::MAX), secs(1 << 40)] {
        let mut bench = Bench::new();
        bench.tell(Event::Wanted);
        let fetched = Fetched { asked_at: bench.now, expires_in: lifetime, refresh_after: Some(lifetime) };
        bench.tell(Event::Fetched(fetched));
        bench.pass(secs(30 * 24 * 3600));
        assert!(bench.machine.held().is_some(), "{lifetime:?}");
    }
}

#[test]
fn does_nothing_until_a_call_wants_a_token() {
    let mut bench = Bench::new();
    assert_eq!(bench.tell(Event::Woke), Next { fetch: false, wake: None });
    assert!(bench.tell(Event::Wanted).fetch);
}

#[test]
fn asks_once_however_many_want() {
    let mut bench = Bench::new();
    assert!(bench.tell(Event::Wanted).fetch);
    for _ in 0..1000 {
        assert!(!bench.tell(Event::Wanted).fetch);
    }
}

#[test]
fn renews_when_the_server_says_and_holds_the_old_token_meanwhile() {
    let mut bench = Bench::holding();
    assert!(!bench.pass(LIFETIME / 2 - secs(1)).fetch);
    assert!(bench.pass(secs(1)).fetch);
    assert_eq!(bench.machine.held().unwrap().generation, 1);
    bench.fetched();
    assert_eq!(bench.machine.held().unwrap().generation, 2);
}

#[test]
fn renews_between_65_and_80_percent_where_the_server_does_not_say() {
    for (draw, percent) in [(0.0, 65), (1.0, 80)] {
        let fetched = Fetched { asked_at: Bench::new().now, expires_in: secs(100), refresh_after: None };
        assert_eq!(renew_after(&fetched, draw), secs(percent));
    }
}

#[test]
fn a_renewal_time_that_makes_no_sense_is_not_followed() {
    let asked_at = Bench::new().now;
    for refresh_after in [Duration::ZERO, secs(300), secs(900)] {
        let fetched = Fetched { asked_at, expires_in: LIFETIME, refresh_after: Some(refresh_after) };
        assert_eq!(renew_after(&fetched, 0.0), secs(195), "{refresh_after:?}");
    }
    let hasty = Fetched { asked_at, expires_in: LIFETIME, refresh_after: Some(Duration::from_nanos(1)) };
    assert_eq!(renew_after(&hasty, 0.0), secs(1));
}

#[test]
fn holds_the_token_until_expiry_while_the_source_is_down_and_never_past_it() {
    let mut bench = Bench::holding();
    assert!(bench.pass(LIFETIME / 2).fetch);
    bench.unavailable();
    while bench.now.monotonic < bench.machine.held().unwrap().expires_at.monotonic - secs(1) {
        if bench.pass(Duration::from_millis(500)).fetch {
            bench.unavailable();
        }
        assert!(bench.machine.held().is_some());
    }
    bench.pass(secs(1));
    assert!(bench.machine.held().is_none());
    assert!(bench.machine.blamed_until().is_some(), "calls fail at once");
}

#[test]
fn a_suspended_machine_finds_its_token_expired_by_the_time_of_day() {
    let mut bench = Bench::holding();
    bench.suspend(secs(7200));
    assert!(bench.tell(Event::Wanted).fetch);
    assert!(bench.machine.held().is_none());
    assert!(bench.machine.blamed_until().is_none(), "calls wait for the fresh token");
}

#[test]
fn what_failed_before_a_suspension_is_not_held_against_the_source() {
    let mut bench = Bench::holding();
    assert!(bench.pass(LIFETIME / 2).fetch);
    bench.unavailable();
    bench.suspend(secs(7200));
    assert!(bench.tell(Event::Wanted).fetch);
    assert!(bench.machine.blamed_until().is_none());
}

#[test]
fn a_short_suspension_renews_in_time_when_a_call_notices() {
    let mut bench = Bench::holding();
    bench.suspend(LIFETIME / 2);
    assert!(bench.tell(Event::Wanted).fetch);
    assert!(bench.machine.held().is_some());
}

#[test]
fn a_clock_set_back_does_not_prolong_a_token() {
    let mut bench = Bench::holding();
    bench.now.wall -= secs(86_400);
    assert!(bench.pass(LIFETIME / 2).fetch);
    bench.pass(LIFETIME / 2);
    assert!(bench.machine.held().is_none());
}

#[test]
fn backs_off_from_the_beginning_of_an_attempt_that_hung() {
    let mut bench = Bench::new();
    assert!(bench.tell(Event::Wanted).fetch);
    bench.pass(secs(35));
    let next = bench.unavailable();
    assert_eq!(bench.wake_in(next), backoff::PAUSE_MIN);
}

#[test]
fn leaves_the_source_alone_for_as_long_as_it_asks() {
    let mut bench = Bench::new();
    bench.tell(Event::Wanted);
    bench.tell(Event::Failed(Failed { refused: false, expired: false, retry_after: Some(secs(7)) }));
    assert!(!bench.pass(Duration::from_millis(6999)).fetch);
    assert!(!bench.tell(Event::Wanted).fetch);
    assert!(bench.pass(secs(1)).fetch);
}

#[test]
fn heals_within_30_s_of_any_number_of_failures() {
    let mut bench = Bench::new();
    let mut next = bench.tell(Event::Wanted);
    for _ in 0..100 {
        assert!(next.fetch);
        let failed = bench.machine.handle(
            Event::Failed(Failed { refused: false, expired: false, retry_after: None }),
            bench.now,
            1.0,
        );
        assert!(bench.wake_in(failed) <= secs(30));
        next = bench.pass(bench.wake_in(failed));
    }
}

#[test]
fn a_cached_refusal_ends_with_the_next_call_that_needs_a_token() {
    let mut bench = Bench::new();
    bench.tell(Event::Wanted);
    let next = bench.refused();
    assert!(!bench.tell(Event::Wanted).fetch);
    let remembered = bench.wake_in(next);
    assert!(bench.machine.blamed_until().is_some());
    assert!(bench.pass(remembered).fetch, "wanted while it was remembered");
    assert!(bench.machine.blamed_until().is_none(), "calls wait for the new answer");
    let next = bench.refused();
    assert!(!bench.pass(bench.wake_in(next)).fetch, "no call wanted it");
    assert!(bench.machine.blamed_until().is_none(), "forgotten");
    assert!(bench.tell(Event::Wanted).fetch);
}

#[test]
fn a_rejected_token_is_replaced_once() {
    let mut bench = Bench::holding();
    assert!(bench.tell(Event::Rejected(1)).fetch);
    assert!(!bench.tell(Event::Rejected(1)).fetch);
    assert!(bench.machine.held().is_some(), "it goes on serving calls elsewhere");
    bench.fetched();
    assert!(!bench.tell(Event::Rejected(1)).fetch, "old news");
    assert_eq!(bench.machine.held().unwrap().generation, 2);
}

#[test]
fn a_server_that_rejects_every_token_does_not_turn_its_callers_against_the_issuer() {
    let mut bench = Bench::holding();
    let (mut fetches, mut generation) = (0, 1);
    for _ in 0..600 {
        let mut fetch = bench.tell(Event::Rejected(generation)).fetch;
        fetch |= bench.pass(Duration::from_millis(100)).fetch;
        if fetch {
            bench.fetched();
            fetches += 1;
            generation += 1;
        }
    }
    assert_eq!(fetches, 6, "within a minute: at 0, 1, 3, 7, 15 and 31 s");
}

#[test]
fn a_token_kept_while_used_is_left_to_expire_when_it_is_not() {
    let mut bench = Bench::keeping(Keep::WhileUsed);
    bench.tell(Event::Wanted);
    bench.fetched();
    assert!(!bench.pass(LIFETIME / 2).fetch);
    bench.machine.mark_used();
    assert!(bench.pass(secs(1)).fetch);
    bench.fetched();
    assert!(!bench.pass(LIFETIME).fetch);
    assert!(bench.machine.held().is_none());
    assert!(bench.tell(Event::Wanted).fetch);
}

#[test]
fn a_lifetime_beyond_the_clocks_end_is_not_a_panic() {
    let mut bench = Bench::new();
    bench.tell(Event::Wanted);
    let fetched = Fetched { asked_at: bench.now, expires_in: Duration::MAX, refresh_after: None };
    bench.tell(Event::Fetched(fetched));
}

#[derive(Clone, Debug)]
enum Move {
    Pass(u64),
    Suspend(u64),
    SetBack(u64),
    Want,
    RejectCurrent,
    RejectAny(u64),
    Use,
    Answer { expires_in: u64, refresh_after: Option<u64> },
    Unavailable(Option<u64>),
    Refuse(Option<u64>),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        4 => (0..400_000_u64).prop_map(Move::Pass),
        1 => (0..10_000_000_u64).prop_map(Move::Suspend),
        1 => (0..10_000_000_u64).prop_map(Move::SetBack),
        4 => Just(Move::Want),
        1 => Just(Move::RejectCurrent),
        1 => (0..10_u64).prop_map(Move::RejectAny),
        1 => Just(Move::Use),
        4 => (1..3_600_000_u64, prop::option::of(0..4_000_000_u64))
            .prop_map(|(expires_in, refresh_after)| Move::Answer { expires_in, refresh_after }),
        2 => prop::option::of(0..1_000_000_u64).prop_map(Move::Unavailable),
        2 => prop::option::of(0..1_000_000_u64).prop_map(Move::Refuse),
    ]
}

/// A machine, the test's knowledge of it, and a source that the test controls.
struct Trial {
    bench: Bench,
    in_flight: Option<Now>,
    /// The time before which the source must not be asked.
    quiet_until: Instant,
    /// The time from which the newest token must not be used.
    ends: Option<Now>,
}

impl Trial {
    fn new(keep: Keep) -> Self {
        let bench = Bench::keeping(keep);
        let quiet_until = bench.now.monotonic;
        Self { bench, in_flight: None, quiet_until, ends: None }
    }

    /// Makes the move, and returns the event for the machine.
    fn make(&mut self, step: &Move) -> Event {
        match *step {
            Move::Pass(millis) => {
                self.bench.now.monotonic += Duration::from_millis(millis);
                self.bench.now.wall += Duration::from_millis(millis);
            }
            Move::Suspend(millis) => self.bench.now.wall += Duration::from_millis(millis),
            Move::SetBack(millis) => self.bench.now.wall -= Duration::from_millis(millis),
            Move::Use => self.bench.machine.mark_used(),
            Move::Want => return Event::Wanted,
            Move::RejectCurrent => return Event::Rejected(self.bench.machine.generation()),
            Move::RejectAny(generation) => {
                return Event::Rejected(generation.min(self.bench.machine.generation()));
            }
            Move::Answer { expires_in, refresh_after } => return self.answer(expires_in, refresh_after),
            Move::Unavailable(retry_after) => return self.fail(false, retry_after),
            Move::Refuse(retry_after) => return self.fail(true, retry_after),
        }
        Event::Woke
    }

    fn answer(&mut self, expires_in: u64, refresh_after: Option<u64>) -> Event {
        let Some(asked_at) = self.in_flight.take() else { return Event::Woke };
        let expires_in = Duration::from_millis(expires_in);
        self.ends = Some(asked_at.plus(expires_in));
        self.quiet_until = self.bench.now.monotonic;
        Event::Fetched(Fetched { asked_at, expires_in, refresh_after: refresh_after.map(Duration::from_millis) })
    }

    fn fail(&mut self, refused: bool, retry_after: Option<u64>) -> Event {
        if self.in_flight.take().is_none() {
            return Event::Woke;
        }
        let retry_after = retry_after.map(Duration::from_millis);
        let floor = if refused { secs(1) } else { backoff::PAUSE_MIN };
        let asked = retry_after.unwrap_or_default().min(secs(300));
        self.quiet_until = self.bench.now.monotonic + floor.max(asked);
        Event::Failed(Failed { refused, expired: false, retry_after })
    }

    /// Checks: one request at a time, none early, no expired token, no busy loop.
    fn check(&mut self, event: Event, draw: f64) -> Result<(), TestCaseError> {
        let had = self.bench.machine.held();
        let next = self.bench.machine.handle(event, self.bench.now, draw);
        let (held, now) = (self.bench.machine.held(), self.bench.now);
        let suspended = had.is_some_and(|had| now.monotonic < had.expires_at.monotonic) && held.is_none();
        if suspended {
            self.quiet_until = now.monotonic;
        }
        if next.fetch {
            prop_assert!(self.in_flight.is_none(), "two at once");
            prop_assert!(now.monotonic >= self.quiet_until, "before its time");
            self.in_flight = Some(now);
        }
        prop_assert_eq!(self.bench.machine.in_flight(), self.in_flight.is_some());
        if let Some(held) = held {
            prop_assert!(!now.has_reached(held.expires_at), "past its end");
            prop_assert_eq!(Some(held.expires_at), self.ends);
            prop_assert!(next.wake.is_some_and(|wake| wake <= held.expires_at.monotonic), "sleeps through its end");
        }
        prop_assert!(next.wake.is_none_or(|wake| wake > now.monotonic), "a busy loop");
        Ok(())
    }

    /// A call wants a token and the source has recovered: a token arrives within the longest pause.
    fn recovers(mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            if self.bench.machine.held().is_some() {
                break;
            }
            let mut next = self.bench.tell(Event::Wanted);
            if !next.fetch && self.in_flight.is_none() {
                let pause = self.bench.wake_in(next);
                prop_assert!(pause <= secs(301));
                next = self.bench.pass(pause);
            }
            if next.fetch || self.in_flight.take().is_some() {
                self.bench.fetched();
            }
        }
        prop_assert!(self.bench.machine.held().is_some());
        Ok(())
    }
}

proptest! {
    /// Any events in any order.
    #[test]
    fn keeps_its_promises(
        keep in prop_oneof![Just(Keep::Always), Just(Keep::WhileUsed)],
        moves in prop::collection::vec((moves(), 0.0..1.0_f64), 1..200),
    ) {
        let mut trial = Trial::new(keep);
        for (step, draw) in moves {
            let event = trial.make(&step);
            trial.check(event, draw)?;
        }
        trial.recovers()?;
    }
}
