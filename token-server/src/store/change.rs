//! Entries of the change log.

use std::time::SystemTime;

use super::RevocationTarget;
use crate::client::ClientId;

/// One change to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order of all changes.
    pub sequence: u64,
    /// When it was made, by the clock of whoever made it.
    pub time: SystemTime,
    /// What changed; the new state is read from the store.
    pub kind: ChangeKind,
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
