//! The follower's position in the change log, and the check that the log still has the same history.

use crate::store::{Change, ChangeLog, LogPage, StoreError};

/// The last delivered change, and the history that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    epoch: String,
    /// `None` before the first change of a new store.
    last: Option<Change>,
}

impl Position {
    /// Returns the position at the end of the log.
    pub(super) async fn at_end(log: &dyn ChangeLog) -> Result<Self, StoreError> {
        let last = log.last_change().await?;
        let page = log.changes_from(last, 1).await?;
        Ok(Self { epoch: page.epoch, last: page.changes.into_iter().next_back() })
    }

    /// The sequence number of the last delivered change; 0 before the first.
    pub(super) fn sequence(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.sequence)
    }

    /// Returns the changes in `page` that follow this position. `page` must start at this position's sequence
    /// number. Returns `None` if the log has another history: another database, a restore, or a failover to a
    /// standby that lacks transactions. Sequence numbers alone do not show this, because they are reused.
    pub(super) fn news(&self, page: LogPage) -> Option<Vec<Change>> {
        let mut changes = page.changes.into_iter();
        let same = page.epoch == self.epoch && (self.last.is_none() || changes.next() == self.last);
        same.then(|| changes.collect())
    }

    /// Advances to a change that has been delivered.
    pub(super) fn advance(&mut self, change: Change) {
        self.last = Some(change);
    }
}
