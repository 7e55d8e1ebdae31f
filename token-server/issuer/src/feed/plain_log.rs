//! A change log in memory, without faults, for tests of what follows the feed.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Notify, time::sleep};

use super::{Feed, FeedSettings};
use crate::{
    store::{Change, ChangeKind, ChangeLog, LogPage, StoreError},
    timestamp::from_millis,
};

#[derive(Default)]
pub(crate) struct PlainLog {
    changes: Mutex<Vec<Change>>,
    wake: Notify,
    connections_lost: AtomicU64,
}

impl PlainLog {
    pub(crate) async fn follow(self: &Arc<Self>) -> Feed {
        Feed::start(Arc::clone(self) as Arc<dyn ChangeLog>, FeedSettings::default()).await.unwrap()
    }

    pub(crate) fn report(&self, kind: ChangeKind) {
        let mut changes = self.changes.lock().unwrap();
        let sequence = changes.len() as u64 + 1;
        changes.push(Change { sequence, time: from_millis(0), mark: sequence.to_string(), kind: Some(kind) });
        self.wake.notify_waiters();
    }

    /// Makes the feed send a resync: at once, if it is the first in ten seconds.
    pub(crate) fn lose_connection(&self) {
        self.connections_lost.fetch_add(1, Ordering::SeqCst);
    }

    /// Makes the feed send a resync, and waits for it.
    pub(crate) async fn resync(&self) {
        self.lose_connection();
        sleep(Duration::from_secs(12)).await;
    }
}

#[async_trait]
impl ChangeLog for PlainLog {
    async fn last_change(&self) -> Result<u64, StoreError> {
        Ok(self.changes.lock().unwrap().len() as u64)
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        let changes = self.changes.lock().unwrap();
        let from = changes.iter().filter(|change| change.sequence >= sequence);
        let changes = from.take(limit.try_into().unwrap()).cloned().collect();
        Ok(LogPage { epoch: "epoch".to_owned(), changes })
    }

    async fn purge_changes(&self, _: Duration) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn changed(&self) {
        self.wake.notified().await;
    }

    fn connections_lost(&self) -> u64 {
        self.connections_lost.load(Ordering::SeqCst)
    }
}
