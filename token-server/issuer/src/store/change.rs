//! Entries of the change log.

use std::time::SystemTime;

use super::RevocationTarget;
use crate::client::ClientId;

/// One change to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The position of the change in the order of all changes.
    pub sequence: u64,
    /// The time of the change, by the store's clock.
    pub time: SystemTime,
    /// A random mark. After a failover or a restore, another change may get the same sequence number.
    pub mark: String,
    /// The kind of change; the new state is read from the store. `None` for a kind that only a later version
    /// knows.
    pub kind: Option<ChangeKind>,
}

/// Consecutive changes, read in one query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// The random ID of the history, generated with the store.
    pub epoch: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// The kind of a change.
///
/// Exhaustive: every store and cache must handle a new kind before it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A client was created, changed or removed.
    Client(ClientId),
    /// A signing key was added, distrusted or removed.
    Keys,
    /// A token, or every token of a client, was revoked.
    Revocation(RevocationTarget),
}
