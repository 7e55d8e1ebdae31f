//! CPU time by thread, as Linux counts it in nanoseconds.

use std::{collections::BTreeSet, fs, sync::Mutex, time::Duration};

/// Threads whose work is the load's, not the server's.
static LOAD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Leaves this thread out of [`of_the_server`].
pub(crate) fn this_thread_is_load() {
    LOAD.lock().unwrap().insert(this_thread());
}

/// Every thread of the process that is not the load's.
pub(crate) fn of_the_server() -> Duration {
    let load = LOAD.lock().unwrap();
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = threads.map(|entry| entry.file_name().into_string().unwrap());
    names.filter(|thread| !load.contains(thread)).map(|thread| of(&thread)).sum()
}

pub(crate) fn of_this_thread() -> Duration {
    of(&this_thread())
}

fn this_thread() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Zero for a thread that has ended.
fn of(thread: &str) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}
