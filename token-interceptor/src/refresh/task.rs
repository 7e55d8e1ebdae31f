//! The background task of one token: the asynchronous shell around [`super::machine`].

use std::{future::pending, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

use super::{
    machine::{Event, Failed, Fetched, Held, Machine, Now},
    shared::Shared,
    skew,
    snapshot::{Current, Failure, Ready, Snapshot},
};
use crate::source::{AccessToken, Cause, IssuedToken, SourceError};

/// The time after which an attempt has failed. It outlasts a stall of 30 s, as a retry would only lengthen
/// the issuer's queue. An issuer that recovers while an attempt hangs is asked again no later than that.
/// Keepalive notices dead connections sooner.
const ATTEMPT_MAX: Duration = Duration::from_millis(30_500);

type Answer = Result<IssuedToken, SourceError>;

/// Renews the token until the last handle is gone.
pub(super) fn run(shared: Arc<Shared>) -> BoxFuture<'static, ()> {
    Box::pin(renew(shared))
}

async fn renew(shared: Arc<Shared>) {
    let _stopped = Stopped(Arc::clone(&shared));
    let mut task = Task::new(shared);
    loop {
        tokio::select! {
            biased;
            () = task.shared.woken() => {
                if !task.take_demands() {
                    return;
                }
            }
            answer = arrival(&mut task.attempt) => task.take_answer(answer),
            () = alarm(task.wake) => task.tell(Event::Woke),
        }
        task.publish();
    }
}

struct Task {
    shared: Arc<Shared>,
    machine: Machine,
    attempt: Option<BoxFuture<'static, Answer>>,
    asked_at: Now,
    wake: Option<Instant>,
    token: Option<AccessToken>,
    failure: Option<Arc<SourceError>>,
    published: View,
}

/// The content of a snapshot. A snapshot is published only when it differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct View {
    held: Option<Held>,
    blamed_until: Option<Instant>,
    in_flight: bool,
    rejected: u64,
}

impl Task {
    fn new(shared: Arc<Shared>) -> Self {
        let last = shared.snapshot();
        Self {
            machine: Machine::new(shared.keep(), last.generation, last.rejected),
            attempt: None,
            asked_at: now(&shared),
            wake: None,
            token: None,
            failure: None,
            published: View::default(),
            shared,
        }
    }

    /// Returns false when the last handle is gone.
    fn take_demands(&mut self) -> bool {
        let demands = self.shared.demands();
        self.tell(Event::Rejected(demands.rejected));
        if demands.wanted {
            self.tell(Event::Wanted);
        }
        !demands.closed
    }

    fn take_answer(&mut self, answer: Answer) {
        self.attempt = None;
        let now = now(&self.shared);
        match usable(answer, self.asked_at, now) {
            Ok(issued) => {
                if let Some(skew) = skew::millis(issued.server_time, self.asked_at.wall, now.wall) {
                    skew::report(skew, self.shared.skew_millis(), self.shared.request());
                    self.shared.set_skew_millis(skew);
                }
                tracing::debug!(request = %self.shared.request(), expires_in = ?issued.expires_in, "access token obtained");
                metrics::counter!("token_client_fetches_total", "outcome" => "ok").increment(1);
                self.token = Some(issued.token);
                self.failure = None;
                self.tell(Event::Fetched(Fetched {
                    asked_at: self.asked_at,
                    expires_in: self
                        .shared
                        .request()
                        .max_age()
                        .map_or(issued.expires_in, |age| age.min(issued.expires_in)),
                    refresh_after: issued.refresh_after,
                }));
            }
            Err(Unusable { error, expired }) => self.take_failure(error, expired),
        }
    }

    fn take_failure(&mut self, error: SourceError, expired: bool) {
        let refused = !error.is_transient();
        let outcome = if refused { "refused" } else { "unavailable" };
        metrics::counter!("token_client_fetches_total", "outcome" => outcome).increment(1);
        let retry_after = error.retry_after();
        let error = Arc::new(error);
        self.failure = Some(Arc::clone(&error));
        self.tell(Event::Failed(Failed { refused, expired, retry_after }));
        if self.machine.held().is_some() && expired {
            // The source caches the current token, which is valid until its end.
            tracing::debug!(request = %self.shared.request(), "the source has no newer access token yet");
            return;
        }
        tracing::warn!(
            request = %self.shared.request(),
            cause = error.cause().name(),
            error = &*error as &dyn std::error::Error,
            token_in_hand = self.machine.held().is_some(),
            "no access token"
        );
    }

    fn tell(&mut self, event: Event) {
        if self.shared.snapshot().is_used() {
            self.machine.mark_used();
        }
        let now = now(&self.shared);
        let next = self.machine.handle(event, now, self.shared.clock().draw());
        self.wake = next.wake;
        if next.fetch {
            self.asked_at = now;
            let (source, request) = (Arc::clone(self.shared.source()), Arc::clone(self.shared.request()));
            // The span serves every call that waits, now or later, so it is a child of none.
            let span = tracing::info_span!(parent: None, "obtain token", otel.kind = "client", request = %request);
            let attempt = async move {
                match timeout(ATTEMPT_MAX, source.fetch(&request)).await {
                    Ok(answer) => answer,
                    Err(elapsed) => Err(SourceError::unavailable(elapsed)),
                }
            };
            self.attempt = Some(Box::pin(attempt.instrument(span)));
        }
    }

    fn publish(&mut self) {
        let view = View {
            held: self.machine.held(),
            blamed_until: self.machine.blamed_until(),
            in_flight: self.machine.in_flight(),
            rejected: self.machine.rejected(),
        };
        if view == self.published {
            return;
        }
        self.published = view;
        let current = view.held.zip(self.token.clone()).map(|(held, token)| Current {
            ready: Ready { token, generation: held.generation },
            renew_at: held.renew_at.wall,
            expires_at: held.expires_at.wall,
        });
        let failure = self.failure.clone().zip(view.blamed_until);
        self.shared.publish(Snapshot {
            current,
            failure: failure.map(|(source, retry_at)| Failure { source, retry_at }),
            in_flight: view.in_flight,
            generation: self.machine.generation(),
            rejected: view.rejected,
            ..Snapshot::default()
        });
    }
}

/// The reason that an answer is unusable.
struct Unusable {
    error: SourceError,
    /// True if there is a token that had expired on arrival.
    expired: bool,
}

fn usable(answer: Answer, asked_at: Now, now: Now) -> Result<IssuedToken, Unusable> {
    let issued = answer.map_err(|error| Unusable { error, expired: false })?;
    if now.has_reached(asked_at.plus(issued.expires_in)) {
        let error = SourceError::unavailable("the access token had expired when it arrived");
        return Err(Unusable { error: error.with_cause(Cause::ExpiredOnArrival), expired: true });
    }
    Ok(issued)
}

fn now(shared: &Shared) -> Now {
    Now { monotonic: Instant::now(), wall: shared.clock().now() }
}

async fn arrival(attempt: &mut Option<BoxFuture<'static, Answer>>) -> Answer {
    match attempt {
        Some(attempt) => attempt.await,
        None => pending().await,
    }
}

async fn alarm(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => pending().await,
    }
}

/// Marks the task as ended, also when the runtime drops it.
struct Stopped(Arc<Shared>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.stopped();
    }
}
