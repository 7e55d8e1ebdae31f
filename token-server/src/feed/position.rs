//! The position of a follower in the change log, and the proof that the log still holds what the follower has read.

use crate::store::{Change, ChangeLog, LogPage, StoreError};

/// The last change that was delivered, and the history that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    epoch: String,
    /// `None` before the first change of a new store.
    last: Option<Change>,
}

impl Position {
    /// The end of the log.
    pub(super) async fn at_end(log: &dyn ChangeLog) -> Result<Self, StoreError> {
        let last = log.last_change().await?;
        let page = log.changes_from(last, 1).await?;
        Ok(Self { epoch: page.epoch, last: page.changes.into_iter().next_back() })
    }

    /// The sequence number of the last change that was delivered; 0 before the first.
    pub(super) fn sequence(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.sequence)
    }

    /// The changes in `page` that follow this position, where `page` was read from its sequence number on. `None` where
    /// the log is not the one that was followed: the database is another, was restored, or has failed over to a standby
    /// that lacks transactions. Sequence numbers alone do not show it, as they are given out again.
    pub(super) fn news(&self, page: LogPage) -> Option<Vec<Change>> {
        let mut changes = page.changes.into_iter();
        let same = page.epoch == self.epoch && (self.last.is_none() || changes.next() == self.last);
        same.then(|| changes.collect())
    }

    /// Moves on to a change that has been delivered.
    pub(super) fn advance(&mut self, change: Change) {
        self.last = Some(change);
    }
}
