//! Lines → a file or a stream, written in batches by a thread of its own.
//!
//! Pushing a line costs one copy and never waits. Waking the writer for each line would cost two system calls
//! per line on the same cores: a quarter of the cost of a token.
//!
//! Lines that cannot be written stay in memory, in order, and are tried again. Beyond the memory limit, whole
//! lines are dropped and counted. A destination that takes nothing for [`STALL_MAX`] is unwritable:
//! [`Lines::condition`].

mod batch;
mod sink;

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use metrics::Counter;
use tokio::sync::Notify;

use batch::Batch;
pub(super) use sink::{NamedFile, Sink, Stream};

/// The time for which lines are gathered after a write.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// The number of bytes that are written without waiting for more.
const BYTES_ENOUGH: usize = 256 * 1024;
/// The number of bytes in memory above which new decisions wait. The writer may hold as many again.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// The limit of audit lines in memory, in bytes. It leaves room for decisions that started before new ones
/// had to wait.
pub(super) const AUDIT_BYTES_MAX: usize = 2 * BYTES_MAX;
/// The limit of log lines in memory, in bytes. It is below [`BYTES_MAX`], so that log lines never delay a
/// decision.
pub(super) const LOG_BYTES_MAX: usize = 1024 * 1024;
/// The time without progress after which a destination is unwritable.
pub(super) const STALL_MAX: Duration = Duration::from_secs(5);
/// The delay before a failed write is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The delay before a write to a full, non-blocking pipe is tried again.
const POLL_AFTER: Duration = Duration::from_millis(10);
/// The time limit for writing the remaining lines at the end.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// The queue of lines for one destination. All clones write to it, each line whole.
#[derive(Clone)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
    lost: Counter,
    bytes_max: usize,
}

/// The state of the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// There is room.
    Writable,
    /// There is no room now. The destination has this much time left to make progress.
    Full(Duration),
    /// The destination has made no progress for too long.
    Unwritable,
}

/// The handle of the writer thread. On drop, the thread writes the remaining lines, for a limited time.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    lost: Counter,
    _thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Signals lines to the writer.
    arrived: Condvar,
    /// Signals the writer's end to the dropping thread.
    finished: Condvar,
    /// Signals room to decisions.
    room: Notify,
    /// True while more than [`BYTES_MAX`] are queued.
    full: AtomicBool,
    /// Milliseconds from `begun` to the last progress while lines are pending, otherwise 0.
    stuck_since: AtomicU64,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    writer: Writer,
    /// True if the destination is to be reopened.
    renew: bool,
    /// The deadline of the last write, set at the end.
    deadline: Option<Instant>,
    finished: bool,
}

/// The state of the writer thread. Waking it costs a system call, so it is woken only when it is idle.
#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Writing,
    /// It will check for lines by itself.
    Gathering,
    /// It sleeps until it is woken.
    Idle,
}

impl Lines {
    /// Starts the writer. Dropped lines are counted in `lost`.
    ///
    /// # Errors
    ///
    /// When the system has no threads left.
    pub(super) fn start(sink: impl Sink, bytes_max: usize, lost: Counter) -> io::Result<(Self, Writing)> {
        let shared = Arc::new(Shared {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            finished: Condvar::new(),
            room: Notify::new(),
            full: AtomicBool::new(false),
            stuck_since: AtomicU64::new(0),
            begun: Instant::now(),
        });
        let (writer, counter) = (Arc::clone(&shared), lost.clone());
        let thread = thread::Builder::new().name("lines".to_owned()).spawn(move || writer.write(sink, &counter))?;
        let lines = Self { shared: Arc::clone(&shared), lost: lost.clone(), bytes_max };
        Ok((lines, Writing { shared, lost, _thread: thread }))
    }

    /// Returns a queue for the same destination, with its own counter and a smaller limit.
    pub(super) fn sharing(&self, bytes_max: usize, lost: Counter) -> Self {
        Self { shared: Arc::clone(&self.shared), lost, bytes_max }
    }

    /// Queues a line, its newline included. Never waits: a line without room is dropped and counted.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.shared.lock();
        if waiting.text.len().saturating_add(line.len()) > self.bytes_max || waiting.deadline.is_some() {
            drop(waiting);
            return self.lost.increment(1);
        }
        waiting.text.extend_from_slice(line);
        if waiting.text.len() > BYTES_MAX {
            self.shared.full.store(true, Ordering::Release);
        }
        let enough = match waiting.writer {
            Writer::Writing => false,
            Writer::Gathering => waiting.text.len() >= BYTES_ENOUGH,
            Writer::Idle => true,
        };
        if enough {
            waiting.writer = Writer::Writing;
            self.shared.arrived.notify_one();
        }
    }

    /// Reopens the destination, because the file may have been renamed.
    pub(super) fn reopen(&self) {
        self.shared.lock().renew = true;
        self.shared.arrived.notify_one();
    }

    /// Returns true if there is room and the writer is idle. Costs two loads.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared.stuck_since.load(Ordering::Acquire) == 0 && !self.shared.full.load(Ordering::Acquire)
            || self.condition(tokio::time::Instant::now().into_std()) == Condition::Writable
    }

    /// Returns the state of the destination for a line that is pushed now.
    pub(crate) fn condition(&self, now: Instant) -> Condition {
        let shared = &self.shared;
        let since = shared.stuck_since.load(Ordering::Acquire);
        if since == 0 {
            // Full but not stuck: the writer is about to take the lines.
            return if shared.full.load(Ordering::Acquire) { Condition::Full(STALL_MAX) } else { Condition::Writable };
        }
        let stuck_for = now.saturating_duration_since(shared.begun + Duration::from_millis(since));
        match STALL_MAX.checked_sub(stuck_for) {
            None | Some(Duration::ZERO) => Condition::Unwritable,
            Some(left) if shared.full.load(Ordering::Acquire) => Condition::Full(left),
            Some(_) => Condition::Writable,
        }
    }

    /// Waits until there is room, or the destination has taken nothing for too long.
    pub(crate) async fn room(&self) -> Condition {
        loop {
            let room = self.shared.room.notified();
            match self.condition(tokio::time::Instant::now().into_std()) {
                // Checked again in any case, because time alone makes the destination unwritable.
                Condition::Full(left) => drop(tokio::time::timeout(left, room).await),
                known @ (Condition::Writable | Condition::Unwritable) => return known,
            }
        }
    }
}

impl Shared {
    fn write(&self, mut sink: impl Sink, lost: &Counter) {
        let mut batch = Batch::default();
        while self.take(&mut batch) {
            self.write_out(&mut sink, &mut batch, lost);
        }
        self.lock().finished = true;
        self.finished.notify_all();
    }

    /// Writes the batch in as many writes as needed. At the end, only until the deadline.
    fn write_out(&self, sink: &mut impl Sink, batch: &mut Batch, lost: &Counter) {
        let mut failing = false;
        loop {
            let anew = std::mem::take(&mut self.lock().renew);
            let written = sink.renew(anew).and_then(|elsewhere| {
                if elsewhere {
                    batch.back_to_line_start();
                }
                if batch.is_done() { Ok(None) } else { sink.write(batch.chunk()).map(Some) }
            });
            match written {
                Ok(None) => break,
                Ok(Some(bytes)) if bytes > 0 => {
                    batch.advance(bytes);
                    self.progress();
                    if std::mem::take(&mut failing) {
                        tracing::info!("lines can be written again");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed @ (Ok(Some(_)) | Err(_)) => {
                    let full = failed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                    if let Err(error) = failed
                        && !full
                        && !std::mem::replace(&mut failing, true)
                    {
                        tracing::error!(%error, "cannot write lines; keeping them in memory and retrying");
                    }
                    if !self.pause(if full { POLL_AFTER } else { RETRY_AFTER }) {
                        lost.increment(batch.lines_left());
                        break;
                    }
                }
            }
        }
        self.stuck_since.store(0, Ordering::Release);
    }

    /// Waits before another attempt. Returns false if there is no time left for one.
    fn pause(&self, time: Duration) -> bool {
        let waiting = self.lock();
        let (waiting, _) = self
            .arrived
            .wait_timeout_while(waiting, time, |waiting| waiting.deadline.is_none() && !waiting.renew)
            .unwrap_or_else(PoisonError::into_inner);
        let Some(deadline) = waiting.deadline else { return true };
        drop(waiting);
        let left = deadline.saturating_duration_since(Instant::now());
        thread::sleep(left.min(POLL_AFTER));
        !left.is_zero()
    }

    /// Waits for lines. Returns false when there will be no more.
    fn take(&self, batch: &mut Batch) -> bool {
        let mut waiting = self.lock();
        while waiting.text.is_empty() && !waiting.renew {
            if waiting.deadline.is_some() {
                return false;
            }
            waiting.writer = Writer::Idle;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writer = Writer::Gathering;
        let few = |waiting: &mut Waiting| waiting.text.len() < BYTES_ENOUGH && waiting.deadline.is_none();
        let gathered = self.arrived.wait_timeout_while(waiting, GATHERED_FOR, few);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.writer = Writer::Writing;
        std::mem::swap(&mut waiting.text, batch.refill());
        self.progress();
        if self.full.swap(false, Ordering::AcqRel) {
            self.room.notify_waiters();
        }
        true
    }

    /// Records that the destination has just made progress, or has just received new work.
    fn progress(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stuck_since.store(since.max(1), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    /// The thread is not joined, because it may be in a system call that never returns.
    fn drop(&mut self) {
        let mut waiting = self.shared.lock();
        waiting.deadline = Some(Instant::now() + DRAIN_MAX);
        self.shared.arrived.notify_one();
        let left = |waiting: &mut Waiting| !waiting.finished;
        let finished = self.shared.finished.wait_timeout_while(waiting, DRAIN_MAX + POLL_AFTER, left);
        let (mut waiting, _) = finished.unwrap_or_else(PoisonError::into_inner);
        let left = std::mem::take(&mut waiting.text);
        drop(waiting);
        self.lost.increment(batch::count(&left));
    }
}

#[cfg(test)]
pub(crate) mod tests;
