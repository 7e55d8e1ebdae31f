//! Entries of the change log.

use std::time::SystemTime;

use super::RevocationTarget;
use crate::client::ClientId;

/// One change to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its position in the order of all changes.
    pub sequence: u64,
    /// When it was made, by the store's clock.
    pub time: SystemTime,
    /// Random. After a failover or a restore another change may get the same sequence number.
    pub mark: String,
    /// What changed; the new state is read from the store. `None` for a kind that a later version writes.
    pub kind: Option<ChangeKind>,
}

/// Consecutive changes, read in one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPage {
    /// Identifies the history. Random, generated with the store.
    pub epoch: String,
    /// The changes, in order.
    pub changes: Vec<Change>,
}

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A client was created, changed or removed.
    Client(ClientId),
    /// A signing key was added, distrusted or removed.
    Keys,
    /// A token, or every token of a client, was revoked.
    Revocation(RevocationTarget),
}
