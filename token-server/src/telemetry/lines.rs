//! Lines → a file or a stream, by a thread of its own, as many at once as have come together.
//!
//! A line costs whoever leaves it one copy. A writer that woke for each of them would cost two system calls a line,
//! on the same cores: a quarter of what a token costs.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use metrics::Counter;

/// After a write, lines are gathered for so long.
const GATHERED_FOR: Duration = Duration::from_millis(5);
/// So many bytes are written without waiting for more.
const BYTES_ENOUGH: usize = 256 * 1024;
/// So many bytes wait at the most; whoever comes then waits too.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Where lines are left. Cheap to clone; all clones write to the same place, each line whole.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

/// The thread that writes. Dropped, it writes what is left.
#[derive(Debug)]
pub(super) struct Writing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// The writer waits here for lines.
    arrived: Condvar,
    /// Whoever found it full waits here.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    text: Vec<u8>,
    writer: Writer,
    ended: bool,
}

/// What the writer does. Waking it is a system call, so nobody does who need not.
#[derive(Debug, Default, PartialEq, Eq)]
enum Writer {
    #[default]
    Writing,
    /// It looks again by itself.
    Gathering,
    /// It has nothing to do until somebody wakes it.
    Idle,
}

impl Lines {
    /// Starts the writer. Lines that `sink` does not take are counted in `lost`.
    ///
    /// # Errors
    ///
    /// When the system has no more threads.
    pub(super) fn start(sink: impl io::Write + Send + 'static, lost: Counter) -> io::Result<(Self, Writing)> {
        let shared = Arc::<Shared>::default();
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new().name("audit".to_owned()).spawn(move || writer.write(sink, &lost))?;
        Ok((Self(Arc::clone(&shared)), Writing { shared, thread: Some(thread) }))
    }

    /// Leaves a line, its end included. Waits where too much is waiting already.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.0.lock();
        while waiting.text.len() > BYTES_MAX && !waiting.ended {
            waiting = self.0.taken.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.text.extend_from_slice(line.as_bytes());
        let enough = match waiting.writer {
            Writer::Writing => false,
            Writer::Gathering => waiting.text.len() >= BYTES_ENOUGH,
            Writer::Idle => true,
        };
        if enough {
            waiting.writer = Writer::Writing;
            self.0.arrived.notify_one();
        }
    }
}

impl Shared {
    fn write(&self, mut sink: impl io::Write, lost: &Counter) {
        let mut batch = Vec::new();
        let mut failing = false;
        while self.take(&mut batch) {
            let written = sink.write_all(&batch).and_then(|()| sink.flush());
            if let Err(error) = &written {
                lost.increment(batch.iter().filter(|byte| **byte == b'\n').count() as u64);
                if !failing {
                    tracing::error!(%error, "audit lines cannot be written");
                }
            }
            failing = written.is_err();
            batch.clear();
        }
    }

    /// Waits for lines; false when there will be none.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let mut waiting = self.lock();
        while waiting.text.is_empty() {
            if waiting.ended {
                return false;
            }
            waiting.writer = Writer::Idle;
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writer = Writer::Gathering;
        let few = |waiting: &mut Waiting| waiting.text.len() < BYTES_ENOUGH && !waiting.ended;
        let gathered = self.arrived.wait_timeout_while(waiting, GATHERED_FOR, few);
        let (mut waiting, _) = gathered.unwrap_or_else(PoisonError::into_inner);
        waiting.writer = Writer::Writing;
        std::mem::swap(&mut waiting.text, batch);
        self.taken.notify_all();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.arrived.notify_one();
        self.shared.taken.notify_all();
        if let Some(thread) = self.thread.take() {
            // A writer that has panicked has nothing more to write.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Takes what fits.
    #[derive(Clone, Default)]
    pub(in crate::telemetry) struct Sink {
        pub(in crate::telemetry) text: Arc<Mutex<Vec<u8>>>,
        full: bool,
    }

    impl io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.text.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn lost() -> (Counter, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Counter::from_arc(Arc::clone(&count)), count)
    }

    #[test]
    fn lines_of_many_threads_are_all_written_and_each_is_whole() {
        let sink = Sink::default();
        let (lines, writing) = Lines::start(sink.clone(), lost().0).unwrap();
        let threads = (0..4).map(|thread| {
            let lines = lines.clone();
            // Eight times as much as may wait.
            thread::spawn(move || (0..8000).for_each(|_| lines.push(&format!("{}\n", thread.to_string().repeat(1000)))))
        });
        threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
        drop(writing);
        let text = String::from_utf8(sink.text.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 4 * 8000);
        assert!(text.lines().all(|line| line.len() == 1000 && line.bytes().all(|byte| byte == line.as_bytes()[0])));
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        let (counter, count) = lost();
        let (lines, writing) = Lines::start(Sink { full: true, ..Sink::default() }, counter).unwrap();
        lines.push("a\n");
        lines.push("b\n");
        drop(writing);
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
