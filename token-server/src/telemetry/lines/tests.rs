use std::sync::{
    atomic::AtomicU64,
    mpsc::{self, Receiver, Sender},
};

use super::*;

/// A sink that accepts as many bytes as fit.
#[derive(Clone, Default)]
pub(in crate::telemetry) struct Memory {
    pub(in crate::telemetry) text: Arc<Mutex<Vec<u8>>>,
}

impl Sink for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn renew(&mut self, _: bool) -> io::Result<bool> {
        Ok(false)
    }
}

/// A sink that asks the test for the result of each write.
struct Scripted {
    asked: Sender<Vec<u8>>,
    answers: Receiver<io::Result<usize>>,
    moved: Receiver<()>,
}

impl Sink for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.asked.send(bytes.to_vec());
        self.answers.recv().unwrap_or(Err(io::ErrorKind::BrokenPipe.into()))
    }

    fn renew(&mut self, _: bool) -> io::Result<bool> {
        Ok(self.moved.try_recv().is_ok())
    }
}

struct Script {
    asked: Receiver<Vec<u8>>,
    answers: Sender<io::Result<usize>>,
    moved: Sender<()>,
}

fn scripted() -> (Scripted, Script) {
    let ((asked, asked_of), (answers, answers_of), (moved, moved_of)) =
        (mpsc::channel(), mpsc::channel(), mpsc::channel());
    let sink = Scripted { asked, answers: answers_of, moved: moved_of };
    (sink, Script { asked: asked_of, answers, moved })
}

fn lost() -> (Counter, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    (Counter::from_arc(Arc::clone(&count)), count)
}

/// Lines that are not written until the test allows it.
pub(crate) struct Stalled {
    lines: Lines,
    script: Script,
    _writing: Writing,
}

/// Creates lines of which none is written yet.
pub(crate) fn stalled() -> Stalled {
    let (sink, script) = scripted();
    let (lines, writing) = Lines::start(sink, AUDIT_BYTES_MAX, Counter::noop()).unwrap();
    Stalled { lines, script, _writing: writing }
}

impl Stalled {
    pub(crate) fn lines(&self) -> Lines {
        self.lines.clone()
    }

    /// Pushes more lines than there is room for, while the writer is busy.
    pub(crate) fn fill(&self) {
        self.lines.push(b"a\n");
        self.script.asked.recv().unwrap();
        let line = [&*vec![b'x'; BYTES_MAX], b"\n"].concat();
        self.lines.push(&line);
    }

    /// Lets the writer write everything.
    pub(crate) fn take_all(&self) {
        self.script.answers.send(Ok(2)).unwrap();
        while let Ok(asked) = self.script.asked.recv() {
            self.script.answers.send(Ok(asked.len())).unwrap();
            if asked.ends_with(b"\n") {
                break;
            }
        }
        while !self.lines.is_writable() {
            thread::yield_now();
        }
    }
}

#[test]
fn lines_of_many_threads_are_all_written_and_each_is_whole() {
    let sink = Memory::default();
    let (lines, writing) = Lines::start(sink.clone(), usize::MAX, lost().0).unwrap();
    let threads = (0..4).map(|thread| {
        let lines = lines.clone();
        let line = format!("{}\n", thread.to_string().repeat(1000));
        thread::spawn(move || (0..8000).for_each(|_| lines.push(line.as_bytes())))
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    drop(writing);
    let text = String::from_utf8(sink.text.lock().unwrap().clone()).unwrap();
    assert_eq!(text.lines().count(), 4 * 8000);
    assert!(text.lines().all(|line| line.len() == 1000 && line.bytes().all(|byte| byte == line.as_bytes()[0])));
}

#[test]
fn a_write_in_part_goes_on_where_it_stopped() {
    let (sink, script) = scripted();
    let (lines, _writing) = Lines::start(sink, AUDIT_BYTES_MAX, lost().0).unwrap();
    lines.push(b"first\n");
    assert_eq!(script.asked.recv().unwrap(), b"first\n");
    script.answers.send(Ok(2)).unwrap();
    assert_eq!(script.asked.recv().unwrap(), b"rst\n");
    script.answers.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
    // No bytes come between the two parts of a line.
    lines.push(b"second\n");
    assert_eq!(script.asked.recv().unwrap(), b"rst\n");
    script.answers.send(Ok(4)).unwrap();
    assert_eq!(script.asked.recv().unwrap(), b"second\n");
    script.answers.send(Ok(7)).unwrap();
}

#[test]
fn a_line_cut_off_by_a_rename_is_whole_in_the_new_file() {
    let (sink, script) = scripted();
    let (lines, _writing) = Lines::start(sink, AUDIT_BYTES_MAX, lost().0).unwrap();
    lines.push(b"first\nsecond\n");
    assert_eq!(script.asked.recv().unwrap(), b"first\nsecond\n");
    script.moved.send(()).unwrap();
    script.answers.send(Ok(9)).unwrap();
    assert_eq!(script.asked.recv().unwrap(), b"second\n");
    script.answers.send(Ok(7)).unwrap();
}

#[test]
fn lines_without_room_are_dropped_whole_and_counted() {
    let (counter, count) = lost();
    let (sink, script) = scripted();
    let (lines, writing) = Lines::start(sink, 10, counter).unwrap();
    lines.push(b"taken\n");
    script.asked.recv().unwrap();
    lines.push(b"kept\n");
    lines.push(b"dropped\n");
    lines.push(b"also\n");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    script.answers.send(Ok(6)).unwrap();
    assert_eq!(script.asked.recv().unwrap(), b"kept\nalso\n");
    script.answers.send(Ok(10)).unwrap();
    drop(writing);
    assert_eq!(count.load(Ordering::Relaxed), 1);
    lines.push(b"too late\n");
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

/// At the end, an unwritable destination delays no longer than the deadline, and every line is counted.
#[test]
fn the_end_does_not_wait_for_a_full_disk() {
    let (counter, count) = lost();
    let (sink, script) = scripted();
    drop(script);
    let (lines, writing) = Lines::start(sink, AUDIT_BYTES_MAX, counter).unwrap();
    lines.push(b"a\n");
    lines.push(b"b\n");
    let started = Instant::now();
    drop(writing);
    assert!(started.elapsed() < 5 * DRAIN_MAX, "{:?}", started.elapsed());
    assert_eq!(count.load(Ordering::Relaxed), 2);
}

#[test]
fn the_end_does_not_wait_for_a_reader_that_stalls() {
    let (counter, count) = lost();
    let (sink, script) = scripted();
    let (lines, writing) = Lines::start(sink, AUDIT_BYTES_MAX, counter).unwrap();
    lines.push(b"in the system call\n");
    script.asked.recv().unwrap();
    lines.push(b"behind it\n");
    drop(writing);
    assert_eq!(count.load(Ordering::Relaxed), 1);
}

#[test]
fn a_destination_that_takes_nothing_becomes_unwritable() {
    let (sink, script) = scripted();
    let (lines, _writing) = Lines::start(sink, AUDIT_BYTES_MAX, lost().0).unwrap();
    assert_eq!(lines.condition(Instant::now() + STALL_MAX), Condition::Writable);
    lines.push(b"a\n");
    script.asked.recv().unwrap();
    let now = Instant::now();
    assert_eq!(lines.condition(now), Condition::Writable);
    assert_eq!(lines.condition(now + STALL_MAX), Condition::Unwritable);
    // One line above the limit, while the writer is busy.
    lines.push(&vec![b'x'; BYTES_MAX + 1]);
    assert!(matches!(lines.condition(now), Condition::Full(left) if left <= STALL_MAX));
    script.answers.send(Ok(2)).unwrap();
    script.asked.recv().unwrap();
    assert_eq!(lines.condition(Instant::now()), Condition::Writable);
}

#[tokio::test]
async fn room_is_waited_for_until_the_writer_makes_some() {
    let (sink, script) = scripted();
    let (lines, _writing) = Lines::start(sink, AUDIT_BYTES_MAX, lost().0).unwrap();
    lines.push(b"a\n");
    script.asked.recv().unwrap();
    lines.push(&vec![b'x'; BYTES_MAX + 1]);
    let mut room = Box::pin(lines.room());
    assert!(futures_util::poll!(room.as_mut()).is_pending());
    script.answers.send(Ok(2)).unwrap();
    assert_eq!(room.await, Condition::Writable);
}

#[test]
fn lines_that_share_a_destination_have_room_of_their_own() {
    let ((counter, count), (sink, script)) = (lost(), scripted());
    let (lines, _writing) = Lines::start(sink, AUDIT_BYTES_MAX, lost().0).unwrap();
    let less = lines.sharing(8, counter);
    lines.push(b"a\n");
    script.asked.recv().unwrap();
    lines.push(b"important\n");
    less.push(b"chat\n");
    assert_eq!(count.load(Ordering::Relaxed), 1);
    lines.push(b"important\n");
    script.answers.send(Ok(2)).unwrap();
    assert_eq!(script.asked.recv().unwrap(), b"important\nimportant\n");
}
