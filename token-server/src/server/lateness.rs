//! How late a worker runs: which requests have waited for their turn too long.
//!
//! Between the moment at which a worker reads a request and the moment at which it begins with it lie all the requests that
//! it has read before. That is what overload does to callers, and nothing else tells of it: neither a busy core nor a
//! number of requests. A burst makes requests wait too, and is worked off; so nobody is refused before the worker has been
//! without rest for a while.
//!
//! To refuse is work too, a quarter of a token's, nearly all of it in the transport. So no more is refused than can be without
//! loss to those who are served. Whoever is beyond that waits where it costs nothing: a worker that is behind reads little
//! more, so that the line stays short, and with it the memory that each request has left cold when its turn comes.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// A worker without rest for so long has more to do than it can.
const OVERLOADED_AFTER: Duration = Duration::from_millis(500);
/// So many are begun for each that is refused.
const BEGUN_PER_REFUSAL: u32 = 6;
/// So many that were begun count, so that a worker that was long in time does not refuse everybody at once.
const BEGUN_MAX: u32 = 600;
/// A wait for the next event that is shorter was none: the event was there already.
const REST_MIN: Duration = Duration::from_micros(50);

thread_local! {
    static WORKER: Cell<Worker> = const { Cell::new(Worker::Unknown) };
}

/// What this thread does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    /// Somebody else's work: nobody would tell when it rests.
    Unknown,
    /// It has done whatever it has read, and looks whether there is more.
    Looking {
        since: Instant,
        busy: Option<Busy>,
    },
    /// It has waited for what it does next.
    Rested,
    Busy(Busy),
}

/// A worker without rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy {
    since: Instant,
    /// Requests that were begun, and not yet made up for by refusing another.
    begun: u32,
    /// The last one had waited for too long.
    behind: bool,
}

/// This thread is a worker, and is about to wait for the next event.
pub(super) fn look() {
    let busy = match WORKER.get() {
        Worker::Busy(busy) => Some(Busy { behind: false, ..busy }),
        Worker::Unknown | Worker::Looking { .. } | Worker::Rested => None,
    };
    WORKER.set(Worker::Looking { since: Instant::now(), busy });
}

/// The event is there.
pub(super) fn found() {
    let Worker::Looking { since, busy } = WORKER.get() else { return };
    WORKER.set(match busy {
        Some(busy) if since.elapsed() < REST_MIN => Worker::Busy(busy),
        Some(_) | None => Worker::Rested,
    });
}

/// Now that the turn of a request has come that was read at `read`: whether it is to be refused, since it has waited for an
/// overloaded worker for longer than `max`.
pub(super) fn is_late(read: Instant, max: Duration) -> bool {
    let now = Instant::now();
    let Busy { since, begun, .. } = match WORKER.get() {
        Worker::Busy(busy) => busy,
        Worker::Rested => Busy { since: now, begun: 0, behind: false },
        Worker::Unknown | Worker::Looking { .. } => return false,
    };
    let behind = now.duration_since(read) > max;
    let late = behind && now.duration_since(since) > OVERLOADED_AFTER;
    let left = begun.checked_sub(BEGUN_PER_REFUSAL).filter(|_| late);
    let begun = left.unwrap_or(begun.saturating_add(1).min(BEGUN_MAX));
    WORKER.set(Worker::Busy(Busy { since, begun, behind }));
    left.is_some()
}

/// Whether this worker has so much in line already that it should read no more than it must.
pub(super) fn is_behind() -> bool {
    matches!(WORKER.get(), Worker::Busy(Busy { behind: true, .. }))
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::advance;

    use super::*;

    const MAX: Duration = Duration::from_millis(25);

    /// This thread is a worker that has waited for something.
    pub(in crate::server) async fn rest() {
        look();
        advance(REST_MIN).await;
        found();
    }

    /// It begins to work, and goes on for longer than it should.
    pub(in crate::server) async fn work() {
        for _ in 0..BEGUN_PER_REFUSAL {
            is_late(Instant::now(), MAX);
        }
        advance(OVERLOADED_AFTER * 2).await;
    }

    async fn after(wait: Duration) -> bool {
        let read = Instant::now();
        advance(wait).await;
        is_late(read, MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_worked_off_however_long_each_waits() {
        rest().await;
        let read = Instant::now();
        is_late(read, MAX);
        advance(OVERLOADED_AFTER).await;
        assert!((0..100).all(|_| !is_late(read, MAX)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_rest_those_who_have_waited_too_long_are_late_and_others_are_not() {
        rest().await;
        work().await;
        assert!(!after(MAX).await);
        assert!(after(MAX * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn most_are_begun_however_many_are_late() {
        rest().await;
        work().await;
        let read = Instant::now();
        advance(MAX * 2).await;
        let refused = (0..700).filter(|_| is_late(read, MAX)).count();
        assert_eq!(refused, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_behind_from_a_request_that_waited_until_one_that_did_not() {
        rest().await;
        assert!(!after(MAX * 2).await && is_behind());
        assert!(!after(MAX).await && !is_behind());
        assert!(!after(MAX * 2).await && is_behind());
        look();
        found();
        assert!(!is_behind());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_finds_more_as_soon_as_it_looks_has_not_rested() {
        rest().await;
        work().await;
        look();
        advance(REST_MIN / 2).await;
        found();
        assert!(after(MAX * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_has_rested_is_not_overloaded() {
        rest().await;
        work().await;
        rest().await;
        assert!(!after(MAX * 2).await);
    }

    #[test]
    fn a_runtime_that_waits_for_something_tells() {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().on_thread_park(look).on_thread_unpark(found).build().unwrap();
        runtime.block_on(async {
            is_late(Instant::now(), MAX);
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(WORKER.get(), Worker::Rested);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_thread_that_is_no_worker_is_never_late() {
        work().await;
        assert!(!after(MAX * 2).await);
    }
}
