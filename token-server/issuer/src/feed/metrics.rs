//! The metrics of the change feed.

use metrics::{counter, gauge};

use crate::store::ChangeKind;

/// Records the sequence number up to which the log was read.
pub(super) fn reached(sequence: u64) {
    gauge!("token_server_change_feed_sequence").set(sequence as f64);
}

/// Counts a delivered change.
pub(super) fn changed(kind: &ChangeKind) {
    let kind = match kind {
        ChangeKind::Client(_) => "client",
        ChangeKind::Keys => "keys",
        ChangeKind::Revocation(_) => "revocation",
    };
    counter!("token_server_change_feed_changes_total", "kind" => kind).increment(1);
}

/// The reason for a resync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The log was unreadable for a while.
    Outage,
    /// The notification connection was lost.
    ConnectionLost,
    /// The log has another history.
    Restored,
    /// The regular interval elapsed.
    Interval,
    /// The log holds a change of a kind that this version does not know.
    UnknownKind,
}

/// Counts a resync.
pub(super) fn resynced(reason: Reason) {
    let reason = match reason {
        Reason::Outage => "outage",
        Reason::ConnectionLost => "connection_lost",
        Reason::Restored => "restored",
        Reason::Interval => "interval",
        Reason::UnknownKind => "unknown_kind",
    };
    counter!("token_server_change_feed_resyncs_total", "reason" => reason).increment(1);
}

/// Counts a failed read of the log.
pub(super) fn failed() {
    counter!("token_server_change_feed_failures_total").increment(1);
}

/// Records if cached data is too old to be trusted.
pub(super) fn stale(stale: bool) {
    gauge!("token_server_change_feed_stale").set(f64::from(stale));
}
