//! Overload of a worker: decides which requests have queued too long.
//!
//! A request that a worker has read waits for all requests read before it. This delay is what overload does
//! to callers, and no other measure shows it: neither a busy core nor a number of requests. A burst also
//! delays requests, but is worked off. So no request is shed until the worker has been without idle time for
//! a while.
//!
//! Shedding is work too: a quarter of a token's, nearly all in the transport. So the number shed is bounded
//! by what costs the served callers nothing. The remaining excess waits outside the process: a worker that is
//! behind reads little more. Its queue stays short, and so does the memory that each request leaves cold
//! until its turn.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// A worker without idle time for this long is overloaded.
const OVERLOADED_AFTER: Duration = Duration::from_millis(500);
/// The number of requests that must begin for each one that is shed.
const BEGUN_PER_REFUSAL: u32 = 6;
/// The maximum credit of begun requests. It stops a worker from shedding many requests at once after a long
/// healthy period.
const BEGUN_MAX: u32 = 600;
/// A park shorter than this does not count as idle: the event had already arrived.
const REST_MIN: Duration = Duration::from_micros(50);

thread_local! {
    static WORKER: Cell<Worker> = const { Cell::new(Worker::Unknown) };
}

/// The state of this thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    /// Not a worker: its idle time is not reported.
    Unknown,
    /// The worker has done all work that it has read, and polls for more.
    Looking {
        since: Instant,
        busy: Option<Busy>,
    },
    /// The worker was idle before its next event.
    Rested,
    Busy(Busy),
}

/// A worker without idle time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy {
    since: Instant,
    /// Requests begun, less those offset by shedding another.
    begun: u32,
    /// The last request had queued too long.
    behind: bool,
}

/// Records that this worker thread is about to park.
pub(crate) fn on_park() {
    let busy = match WORKER.get() {
        Worker::Busy(busy) => Some(Busy { behind: false, ..busy }),
        Worker::Unknown | Worker::Looking { .. } | Worker::Rested => None,
    };
    WORKER.set(Worker::Looking { since: Instant::now(), busy });
}

/// Records that this worker thread was unparked.
pub(crate) fn on_unpark() {
    let Worker::Looking { since, busy } = WORKER.get() else { return };
    WORKER.set(match busy {
        Some(busy) if since.elapsed() < REST_MIN => Worker::Busy(busy),
        Some(_) | None => Worker::Rested,
    });
}

/// Returns true if the request read at `read` should be shed: the worker is overloaded, and the request has
/// queued for longer than `max`.
pub(crate) fn should_shed(read: Instant, max: Duration) -> bool {
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

/// Returns true if this worker's queue is so long that it should read as little as possible.
pub(crate) fn is_behind() -> bool {
    matches!(WORKER.get(), Worker::Busy(Busy { behind: true, .. }))
}

#[cfg(test)]
pub(crate) mod tests {
    use tokio::time::advance;

    use super::*;

    const MAX: Duration = Duration::from_millis(25);

    /// Makes this thread a worker that was idle.
    pub(crate) async fn rest() {
        on_park();
        advance(REST_MIN).await;
        on_unpark();
    }

    /// Makes this worker busy for longer than `OVERLOADED_AFTER`.
    pub(crate) async fn work() {
        for _ in 0..BEGUN_PER_REFUSAL {
            should_shed(Instant::now(), MAX);
        }
        advance(OVERLOADED_AFTER * 2).await;
    }

    async fn after(wait: Duration) -> bool {
        let read = Instant::now();
        advance(wait).await;
        should_shed(read, MAX)
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_worked_off_however_long_each_waits() {
        rest().await;
        let read = Instant::now();
        should_shed(read, MAX);
        advance(OVERLOADED_AFTER).await;
        assert!((0..100).all(|_| !should_shed(read, MAX)));
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
        let refused = (0..700).filter(|_| should_shed(read, MAX)).count();
        assert_eq!(refused, 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_behind_from_a_request_that_waited_until_one_that_did_not() {
        rest().await;
        assert!(!after(MAX * 2).await && is_behind());
        assert!(!after(MAX).await && !is_behind());
        assert!(!after(MAX * 2).await && is_behind());
        on_park();
        on_unpark();
        assert!(!is_behind());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_finds_more_as_soon_as_it_looks_has_not_rested() {
        rest().await;
        work().await;
        on_park();
        advance(REST_MIN / 2).await;
        on_unpark();
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
        let runtime = builder.enable_all().on_thread_park(on_park).on_thread_unpark(on_unpark).build().unwrap();
        runtime.block_on(async {
            should_shed(Instant::now(), MAX);
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
