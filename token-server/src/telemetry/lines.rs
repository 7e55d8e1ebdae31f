//! Lines → a file or a stream, by a thread of its own, as many at once as have gathered.
//!
//! Leaving a line costs one copy and never waits. A writer that woke for each line would cost two system calls a line,
//! on the same cores: a quarter of what a token costs.
//!
//! Lines that cannot be written stay in memory, in order, and are tried again; what exceeds the memory is dropped, whole
//! lines only, and counted. A destination that takes nothing for [`STALL_MAX`] is unwritable: [`Lines::condition`].

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

/// After a write, lines are gathered for so long.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// So many bytes are written without waiting for more.
const BYTES_ENOUGH: usize = 256 * 1024;
/// Beyond so many bytes in memory, new decisions wait. As many again may be in the writer's hands.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Audit lines in memory, in bytes: room for the decisions that were begun before the lines had to wait.
pub(super) const AUDIT_BYTES_MAX: usize = 2 * BYTES_MAX;
/// Log lines in memory, in bytes. Less than [`BYTES_MAX`], so that they never hold up a decision.
pub(super) const LOG_BYTES_MAX: usize = 1024 * 1024;
/// A destination that takes no byte for so long is unwritable.
pub(super) const STALL_MAX: Duration = Duration::from_secs(5);
/// A write that failed is tried again after so long ...
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// ... and one to a full pipe that does not block, after so long.
const POLL_AFTER: Duration = Duration::from_millis(10);
/// What is left at the end may take so long to write.
const DRAIN_MAX: Duration = Duration::from_secs(2);

/// Takes lines for one destination. All clones write to the same place, each line whole.
#[derive(Clone)]
pub(crate) struct Lines {
    shared: Arc<Shared>,
    lost: Counter,
    bytes_max: usize,
}

/// Whether lines can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// There is room.
    Writable,
    /// There is no room at the moment; the destination has this much time to take something.
    Full(Duration),
    /// The destination has taken nothing for too long.
    Unwritable,
}

/// The thread that writes. Dropped, it writes what is left, for a bounded time.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    lost: Counter,
    _thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The writer waits here for lines.
    arrived: Condvar,
    /// The end waits here for the writer.
    finished: Condvar,
    /// Decisions wait here for room.
    room: Notify,
    /// More than [`BYTES_MAX`] wait.
    full: AtomicBool,
    /// Milliseconds from `begun` to the last progress, while there is something to write; 0 otherwise.
    stuck_since: AtomicU64,
    begun: Instant,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    writer: Writer,
    /// The destination is to be opened anew.
    renew: bool,
    /// Set at the end: until when to write.
    deadline: Option<Instant>,
    finished: bool,
}

/// What the writer does. Waking it is a system call, made only when it is needed.
#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Writing,
    /// It looks again by itself.
    Gathering,
    /// It has nothing to do until it is woken.
    Idle,
}

impl Lines {
    /// Starts the writer. Lines that are dropped are counted in `lost`.
    ///
    /// # Errors
    ///
    /// When the system has no more threads.
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

    /// The same destination, for lines that count elsewhere and have less room.
    pub(super) fn sharing(&self, bytes_max: usize, lost: Counter) -> Self {
        Self { shared: Arc::clone(&self.shared), lost, bytes_max }
    }

    /// Leaves a line, its end included. Never waits: a line for which there is no room is dropped and counted.
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

    /// Has the destination opened anew: the file may have been renamed.
    pub(super) fn reopen(&self) {
        self.shared.lock().renew = true;
        self.shared.arrived.notify_one();
    }

    /// Whether there is room and the writer is idle. Costs two loads.
    pub(crate) fn is_writable(&self) -> bool {
        self.shared.stuck_since.load(Ordering::Acquire) == 0 && !self.shared.full.load(Ordering::Acquire)
            || self.condition(tokio::time::Instant::now().into_std()) == Condition::Writable
    }

    /// Whether a line that is left now will be written.
    pub(crate) fn condition(&self, now: Instant) -> Condition {
        let shared = &self.shared;
        let since = shared.stuck_since.load(Ordering::Acquire);
        if since == 0 {
            // What is full without being stuck is about to be taken.
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
                // Looked at again in any case: time alone makes it unwritable.
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

    /// Writes the batch, however often that takes; at the end, until the deadline.
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
                        tracing::info!("lines are written again");
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                failed @ (Ok(Some(_)) | Err(_)) => {
                    let full = failed.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                    if let Err(error) = failed
                        && !full
                        && !std::mem::replace(&mut failing, true)
                    {
                        tracing::error!(%error, "lines cannot be written; they are kept in memory and tried again");
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

    /// Waits before another try; false when there is no time for one.
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

    /// Waits for something to do; false when there will be nothing more.
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

    /// Remembers that the destination has taken something, or has been given something to take, just now.
    fn progress(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.stuck_since.store(since.max(1), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    /// The thread is not joined: it may be in a system call that never returns.
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
