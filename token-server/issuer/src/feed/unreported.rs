//! Differences between memory and the store that the change feed has not reported.
//!
//! A comparison may read a change before the feed delivers it. Such a change is not a difference. All others
//! are counted after [`GRACE`].

use std::{collections::HashSet, hash::Hash, time::Duration};

use metrics::counter;
use tokio::time::{Instant, sleep_until};

/// The time in which the feed delivers a change: several polls, and one slow answer of the store.
const GRACE: Duration = Duration::from_secs(10);

/// The differences of one kind.
#[derive(Debug)]
pub(crate) struct Unreported<T> {
    kind: &'static str,
    found: HashSet<T>,
    count_at: Option<Instant>,
}

impl<T: Eq + Hash> Unreported<T> {
    /// `kind` is the label of the metric.
    pub(crate) fn new(kind: &'static str) -> Self {
        Self { kind, found: HashSet::new(), count_at: None }
    }

    /// Notes differences that a comparison found and repaired.
    pub(crate) fn found(&mut self, differences: impl IntoIterator<Item = T>) {
        self.found.extend(differences);
        if !self.found.is_empty() {
            self.count_at.get_or_insert_with(|| Instant::now() + GRACE);
        }
    }

    /// Removes a difference that the feed has reported.
    pub(crate) fn reported(&mut self, change: &T) {
        self.found.remove(change);
    }

    /// The time at which to call [`Unreported::count`]; `None` without differences.
    pub(crate) fn count_at(&self) -> Option<Instant> {
        self.count_at.filter(|_| !self.found.is_empty())
    }

    /// Counts the differences that the feed has not reported in time.
    pub(crate) fn count(&mut self) {
        let differences = std::mem::take(&mut self.found).len();
        self.count_at = None;
        if differences > 0 {
            let number = u64::try_from(differences).unwrap_or(u64::MAX);
            counter!("token_server_store_differences_total", "kind" => self.kind).increment(number);
            tracing::warn!(differences, kind = self.kind, "memory differed from the store; corrected memory");
        }
    }
}

/// Waits until `time`; without a time, for ever.
pub(crate) async fn wait_until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
