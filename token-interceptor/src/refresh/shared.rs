//! The state that calls and the task share: a snapshot for the calls, and flags for the task. They are flags
//! and not a queue: ten thousand calls that need a token are one request.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    TokenError,
    machine::Keep,
    snapshot::{Freshness, Ready, Snapshot, Verdict},
};
use crate::{
    clock::Clock,
    source::{TokenRequest, TokenSource},
};

/// Creates the task that renews the token.
pub(super) type Task = fn(Arc<Shared>) -> BoxFuture<'static, ()>;

/// The shared state; see the module.
pub(super) struct Shared {
    source: Arc<dyn TokenSource>,
    request: Arc<TokenRequest>,
    clock: Arc<dyn Clock>,
    keep: Keep,
    task: Task,
    snapshot: ArcSwap<Snapshot>,
    /// Notifies the calls when the snapshot has changed.
    changed: watch::Sender<()>,
    /// Notifies the task when a flag has changed.
    wake: Notify,
    running: AtomicBool,
    closed: AtomicBool,
    wanted: AtomicBool,
    rejected: AtomicU64,
    skew_millis: AtomicI64,
}

/// The demands of calls since the task last took them.
pub(super) struct Demands {
    pub(super) closed: bool,
    pub(super) wanted: bool,
    pub(super) rejected: u64,
}

impl Shared {
    pub(super) fn new(
        source: Arc<dyn TokenSource>,
        request: TokenRequest,
        clock: Arc<dyn Clock>,
        keep: Keep,
        task: Task,
    ) -> Self {
        Self {
            source,
            request: Arc::new(request),
            clock,
            keep,
            task,
            snapshot: ArcSwap::from_pointee(Snapshot::default()),
            changed: watch::Sender::new(()),
            wake: Notify::new(),
            running: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            rejected: AtomicU64::new(0),
            skew_millis: AtomicI64::new(0),
        }
    }

    pub(super) fn source(&self) -> &Arc<dyn TokenSource> {
        &self.source
    }

    pub(super) fn request(&self) -> &Arc<TokenRequest> {
        &self.request
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    pub(super) fn keep(&self) -> Keep {
        self.keep
    }

    pub(super) fn skew_millis(&self) -> i64 {
        self.skew_millis.load(Ordering::Relaxed)
    }

    pub(super) fn set_skew_millis(&self, skew: i64) {
        self.skew_millis.store(skew, Ordering::Relaxed);
    }

    /// Returns a receiver of snapshot changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The hot path: one load, one read of the clock, one reference count.
    pub(super) fn ready(self: &Arc<Self>) -> Option<Ready> {
        let snapshot = self.snapshot.load();
        let current = snapshot.current.as_ref()?;
        match current.freshness(self.clock.now()) {
            Freshness::Fresh => {}
            // The task's own timer stands still while the machine is suspended; the wall clock does not. A
            // failure here is ignored, as the current token is valid.
            Freshness::Due if snapshot.nudge() => drop(self.want()),
            Freshness::Due => {}
            Freshness::Expired => return None,
        }
        snapshot.mark_used();
        Some(current.ready.clone())
    }

    /// Returns the action for a call that needs a token.
    pub(super) fn look(&self) -> Verdict {
        let snapshot = self.snapshot.load();
        if let Some(ready) = snapshot.usable(0, self.clock.now()) {
            snapshot.mark_used();
            return Verdict::Use(ready.clone());
        }
        if let Some(failure) = &snapshot.failure {
            return Verdict::Fail(TokenError::Source {
                request: Arc::clone(&self.request),
                source: Arc::clone(&failure.source),
                retry_in: failure.retry_at.saturating_duration_since(Instant::now()),
            });
        }
        if snapshot.stopped { Verdict::Fail(TokenError::Stopped) } else { Verdict::Wait }
    }

    /// Returns the action for a call whose token of this generation was refused.
    pub(super) fn look_past(&self, rejected: u64) -> Verdict {
        let snapshot = self.snapshot.load();
        if let Some(ready) = snapshot.usable(rejected, self.clock.now()) {
            return Verdict::Use(ready.clone());
        }
        let heard = snapshot.rejected >= rejected;
        let coming = !heard || (snapshot.in_flight && snapshot.failure.is_none());
        if coming && !snapshot.stopped { Verdict::Wait } else { Verdict::Fail(TokenError::Pending) }
    }

    /// Records that a call needs a token.
    pub(super) fn want(self: &Arc<Self>) -> Result<(), TokenError> {
        self.wanted.store(true, Ordering::Release);
        self.ensure_task()?;
        self.wake.notify_one();
        Ok(())
    }

    /// Records that a server refused the token of this generation.
    pub(super) fn reject(self: &Arc<Self>, generation: u64) {
        self.rejected.fetch_max(generation, Ordering::AcqRel);
        // Without a runtime there is no task, and so no replacement.
        if self.ensure_task().is_ok() {
            self.wake.notify_one();
        }
    }

    /// Records that the last handle is gone.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// For the task: waits until a call sets a flag.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// For the task: takes the flags.
    pub(super) fn demands(&self) -> Demands {
        Demands {
            closed: self.closed.load(Ordering::Acquire),
            wanted: self.wanted.swap(false, Ordering::AcqRel),
            rejected: self.rejected.load(Ordering::Acquire),
        }
    }

    /// For the task: returns the current snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// For the task: publishes a new snapshot.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_replace(());
    }

    /// For the end of the task, for any reason.
    pub(super) fn stopped(&self) {
        self.publish(self.snapshot.load().remains(true));
        self.running.store(false, Ordering::Release);
    }

    /// Starts the task if none runs: at first use, and again if its runtime is gone and there is another.
    fn ensure_task(self: &Arc<Self>) -> Result<(), TokenError> {
        if self.running.load(Ordering::Acquire) {
            return Ok(());
        }
        let runtime = Handle::try_current().map_err(|_| TokenError::NoRuntime)?;
        if !self.running.swap(true, Ordering::AcqRel) {
            let last = self.snapshot.load_full();
            if last.stopped {
                self.publish(Snapshot {
                    current: last.current.clone(),
                    generation: last.generation,
                    rejected: last.rejected,
                    ..Snapshot::default()
                });
            }
            // On a runtime that is shutting down, the task is dropped at once. It then reads as stopped.
            runtime.spawn((self.task)(Arc::clone(self)));
        }
        Ok(())
    }
}
