//! What calls and the task have in common: the snapshot from the task to the calls, and a few flags from the
//! calls to the task. Flags, not a queue: ten thousand calls that need a token are one need.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use arc_swap::ArcSwap;
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    time::Instant,
};

use super::{
    TokenError,
    machine::Keep,
    snapshot::{Freshness, Ready, Snapshot, Verdict},
    task,
};
use crate::{
    clock::Clock,
    source::{TokenRequest, TokenSource},
};

/// See the module.
pub(super) struct Shared {
    source: Arc<dyn TokenSource>,
    request: Arc<TokenRequest>,
    clock: Arc<dyn Clock>,
    keep: Keep,
    snapshot: ArcSwap<Snapshot>,
    /// Rings for the calls when the snapshot has changed.
    changed: watch::Sender<()>,
    /// Rings for the task when one of the flags has changed.
    wake: Notify,
    running: AtomicBool,
    closed: AtomicBool,
    wanted: AtomicBool,
    rejected: AtomicU64,
    skew_millis: AtomicI64,
}

/// What calls have told the task since it last asked.
pub(super) struct Demands {
    pub(super) closed: bool,
    pub(super) wanted: bool,
    pub(super) rejected: u64,
}

impl Shared {
    pub(super) fn new(source: Arc<dyn TokenSource>, request: TokenRequest, clock: Arc<dyn Clock>, keep: Keep) -> Self {
        Self {
            source,
            request: Arc::new(request),
            clock,
            keep,
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

    /// Told when the snapshot changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The hot path: one load, one look at the clock, one reference count.
    pub(super) fn ready(self: &Arc<Self>) -> Option<Ready> {
        let snapshot = self.snapshot.load();
        let current = snapshot.current.as_ref()?;
        match current.freshness(self.clock.now()) {
            Freshness::Fresh => {}
            // The task's own timer stands still while the machine is suspended; the time of day does not.
            // Nothing to do about a failure here: the token in hand is good.
            Freshness::Due if snapshot.nudge() => drop(self.want()),
            Freshness::Due => {}
            Freshness::Expired => return None,
        }
        snapshot.mark_used();
        Some(current.ready.clone())
    }

    /// What a call that needs a token is to do.
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

    /// What a call is to do whose token of this generation was refused.
    pub(super) fn look_past(&self, rejected: u64) -> Verdict {
        let snapshot = self.snapshot.load();
        if let Some(ready) = snapshot.usable(rejected, self.clock.now()) {
            return Verdict::Use(ready.clone());
        }
        let heard = snapshot.rejected >= rejected;
        let coming = !heard || (snapshot.in_flight && snapshot.failure.is_none());
        if coming && !snapshot.stopped { Verdict::Wait } else { Verdict::Fail(TokenError::Pending) }
    }

    /// A call needs a token.
    pub(super) fn want(self: &Arc<Self>) -> Result<(), TokenError> {
        self.wanted.store(true, Ordering::Release);
        self.ensure_task()?;
        self.wake.notify_one();
        Ok(())
    }

    /// A server refused the token of this generation.
    pub(super) fn reject(self: &Arc<Self>, generation: u64) {
        self.rejected.fetch_max(generation, Ordering::AcqRel);
        // Without a runtime there is no task, and without a task nothing to replace the token with.
        if self.ensure_task().is_ok() {
            self.wake.notify_one();
        }
    }

    /// The last handle is gone.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    /// For the task: waits until a call has something to say.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// For the task: takes what calls have said.
    pub(super) fn demands(&self) -> Demands {
        Demands {
            closed: self.closed.load(Ordering::Acquire),
            wanted: self.wanted.swap(false, Ordering::AcqRel),
            rejected: self.rejected.load(Ordering::Acquire),
        }
    }

    /// For the task: the picture that calls have.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// For the task: a new picture for the calls.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_replace(());
    }

    /// For the task's end, however it comes.
    pub(super) fn stopped(&self) {
        self.publish(self.snapshot.load().remains(true));
        self.running.store(false, Ordering::Release);
    }

    /// Starts the task where none runs: at first use, and again where its runtime is gone and there is
    /// another.
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
            // On a runtime that is shutting down, the task is dropped at once, which reads as stopped.
            runtime.spawn(task::run(Arc::clone(self)));
        }
        Ok(())
    }
}
