//! What the metrics tell of the feed.

use metrics::{counter, gauge};

use crate::store::ChangeKind;

/// How far the log has been followed.
pub(super) fn reached(sequence: u64) {
    gauge!("token_server_change_feed_sequence").set(sequence as f64);
}

/// A change was passed on.
pub(super) fn changed(kind: &ChangeKind) {
    let kind = match kind {
        ChangeKind::Client(_) => "client",
        ChangeKind::Keys => "keys",
        ChangeKind::Revocation(_) => "revocation",
    };
    counter!("token_server_change_feed_changes_total", "kind" => kind).increment(1);
}

/// Why everything is read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The log could not be read for a while.
    Outage,
    /// The connection was lost on which changes are announced.
    ConnectionLost,
    /// The log is another one than before.
    Restored,
    /// For no reason, at an interval.
    Interval,
    /// A change of a kind that this version does not know.
    UnknownKind,
}

/// Everything is read anew.
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

/// The log could not be read.
pub(super) fn failed() {
    counter!("token_server_change_feed_failures_total").increment(1);
}

/// Whether memory is too old to be trusted.
pub(super) fn stale(stale: bool) {
    gauge!("token_server_change_feed_stale").set(f64::from(stale));
}
