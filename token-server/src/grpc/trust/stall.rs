//! Ends a stream that is not read, by closing its connection. A server cannot end a single stream whose
//! window is closed.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use metrics::counter;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until},
};

use crate::connection::ConnectionInfo;

/// The time after which a stream that takes no message counts as not read. Heartbeats are due every 10
/// seconds.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);

/// Watches one stream, until dropped.
#[derive(Debug)]
pub(super) struct Watchdog {
    read: Arc<Mutex<Instant>>,
    task: Option<AbortHandle>,
}

impl Watchdog {
    /// Watches the stream of a connection. Without a connection, as in a test, there is nothing to close.
    pub(super) fn of(line: Option<&ConnectionInfo>) -> Self {
        let read = Arc::new(Mutex::new(Instant::now()));
        let task = line.map(|line| tokio::spawn(watch(Arc::clone(&read), line.clone())).abort_handle());
        Self { read, task }
    }

    /// Records that the stream was polled for its next message.
    pub(super) fn read(&self) {
        *lock(&self.read) = Instant::now();
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn watch(read: Arc<Mutex<Instant>>, line: ConnectionInfo) {
    loop {
        let due = *lock(&read) + STALL_MAX;
        if Instant::now() >= due {
            break;
        }
        sleep_until(due).await;
    }
    counter!("token_server_trust_streams_stalled_total").increment(1);
    tracing::debug!(peer = %line.peer, "a trust stream is not read; closing its connection");
    line.cut.cut();
}

fn lock(read: &Mutex<Instant>) -> MutexGuard<'_, Instant> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_is_not_read_loses_its_connection() {
        let line = ConnectionInfo::new(IpAddr::V4(Ipv4Addr::LOCALHOST).into(), false);
        let watchdog = Watchdog::of(Some(&line));
        for _ in 0..10 {
            tokio::time::sleep(STALL_MAX / 2).await;
            watchdog.read();
        }
        assert!(!line.cut.is_cut());
        tokio::time::sleep(STALL_MAX * 2).await;
        assert!(line.cut.is_cut());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_that_has_ended_cuts_nothing() {
        let line = ConnectionInfo::new(IpAddr::V4(Ipv4Addr::LOCALHOST).into(), false);
        drop(Watchdog::of(Some(&line)));
        tokio::time::sleep(STALL_MAX * 2).await;
        assert!(!line.cut.is_cut());
    }
}
