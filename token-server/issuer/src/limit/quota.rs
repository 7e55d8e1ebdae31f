//! Quotas: the number of tokens a client may be issued in each time window. Observe first, then enforce.
//!
//! This process counts in memory, and alone: each replica has its own count, which a restart resets. Only
//! authenticated clients are counted, in a table of fixed capacity.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use metrics::{Counter, counter};
use quick_cache::sync::Cache;

use crate::{
    client::ClientId,
    error::{Budget, IssueError},
};

/// The counter of tokens beyond a quota, by outcome.
pub(crate) const EXCEEDED: &str = "token_server_quota_exceeded_total";
/// The maximum number of clients that are counted.
const CLIENTS_MAX: usize = 65_536;

/// The action on a request beyond the quota.
///
/// Exhaustive: the limit must handle a new action before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaMode {
    /// Accept and audit the request, to find a quota that harms no client.
    Observe,
    /// Reject the request until the window ends.
    Enforce,
}

/// One quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The number of tokens in each window.
    pub tokens: u64,
    /// The action on requests beyond the quota.
    pub mode: QuotaMode,
}

/// The quotas of all clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// The length of a window. The windows of all clients begin at the same moment.
    pub window: Duration,
    /// The quota of every client without its own. `None` means no quota.
    pub default: Option<Quota>,
    /// The quotas of single clients.
    pub clients: HashMap<ClientId, Quota>,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { window: Duration::from_secs(3600), default: None, clients: HashMap::new() }
    }
}

/// The counts of the current window.
#[derive(Debug)]
pub(crate) struct Quotas {
    settings: QuotaSettings,
    counts: Cache<ClientId, Arc<Mutex<Count>>>,
    observed: Counter,
    refused: Counter,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    window: u64,
    tokens: u64,
}

/// The relation of a request to its client's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QuotaStatus {
    Within,
    /// The request exceeds the quota and is accepted anyway.
    Exceeded,
}

impl Quotas {
    pub(crate) fn new(settings: QuotaSettings) -> Self {
        let exceeded = |outcome| {
            let counter = counter!(EXCEEDED, "outcome" => outcome);
            counter.absolute(0);
            counter
        };
        let counts = Cache::new(CLIENTS_MAX);
        Self { settings, counts, observed: exceeded("observed"), refused: exceeded("refused") }
    }

    /// Counts one token of a client.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] beyond an enforced quota.
    pub(crate) fn take(&self, client: &ClientId, now: SystemTime) -> Result<QuotaStatus, IssueError> {
        let QuotaSettings { window, default, clients } = &self.settings;
        let quota = if clients.is_empty() { default.as_ref() } else { clients.get(client).or(default.as_ref()) };
        let Some(quota) = quota else { return Ok(QuotaStatus::Within) };
        let (window, ends_in) = place(now, *window);
        if self.count(client, window, quota.tokens) {
            return Ok(QuotaStatus::Within);
        }
        match quota.mode {
            QuotaMode::Observe => {
                self.observed.increment(1);
                Ok(QuotaStatus::Exceeded)
            }
            QuotaMode::Enforce => {
                self.refused.increment(1);
                Err(IssueError::RateLimited { budget: Budget::Quota, retry_after: ends_in })
            }
        }
    }

    /// Returns true if the window had a token left.
    fn count(&self, client: &ClientId, window: u64, tokens: u64) -> bool {
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::default());
        let Ok(count) = self.counts.get_or_insert_with(client, fresh);
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        if count.window != window {
            *count = Count { window, tokens: 0 };
        }
        let left = count.tokens < tokens;
        count.tokens = count.tokens.saturating_add(u64::from(left));
        left
    }
}

/// Returns the number of the window at `now`, and the time until it ends.
fn place(now: SystemTime, window: Duration) -> (u64, Duration) {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let window = window.as_millis().max(1);
    let rest = window - since % window;
    (u64::try_from(since / window).unwrap_or(u64::MAX), Duration::from_millis(u64::try_from(rest).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn client(id: &str) -> ClientId {
        ClientId::try_from(id).unwrap()
    }

    fn quotas(mode: QuotaMode) -> Quotas {
        let default = Some(Quota { tokens: 2, mode });
        let own = Quota { tokens: 1, mode: QuotaMode::Enforce };
        let clients = HashMap::from([(client("small"), own)]);
        Quotas::new(QuotaSettings { window: Duration::from_secs(60), default, clients })
    }

    #[test]
    fn an_observed_quota_refuses_no_client_and_says_so() {
        let quotas = quotas(QuotaMode::Observe);
        let standing = || quotas.take(&client("orders"), at(0)).unwrap();
        assert_eq!(
            [standing(), standing(), standing()],
            [QuotaStatus::Within, QuotaStatus::Within, QuotaStatus::Exceeded]
        );
        assert_eq!(quotas.take(&client("billing"), at(0)).unwrap(), QuotaStatus::Within);
    }

    #[test]
    fn an_enforced_quota_refuses_until_its_window_ends() {
        let quotas = quotas(QuotaMode::Enforce);
        for _ in 0..2 {
            assert!(quotas.take(&client("orders"), at(70)).is_ok());
        }
        let Err(IssueError::RateLimited { budget, retry_after }) = quotas.take(&client("orders"), at(75)) else {
            panic!("admitted");
        };
        assert_eq!((budget, retry_after), (Budget::Quota, Duration::from_secs(45)));
        assert!(quotas.take(&client("orders"), at(75) + retry_after).is_ok());
    }

    #[test]
    fn a_client_with_a_quota_of_its_own_has_that_one() {
        let quotas = quotas(QuotaMode::Observe);
        assert!(quotas.take(&client("small"), at(0)).is_ok());
        assert!(quotas.take(&client("small"), at(0)).is_err());
    }

    #[test]
    fn counts_stay_within_their_capacity() {
        let quotas = quotas(QuotaMode::Observe);
        for n in 0..CLIENTS_MAX + 10_000 {
            quotas.take(&client(&format!("client-{n}")), at(0)).unwrap();
        }
        assert!(quotas.counts.len() <= CLIENTS_MAX);
    }

    #[test]
    fn without_a_quota_nothing_is_counted() {
        let quotas = Quotas::new(QuotaSettings::default());
        assert_eq!(quotas.take(&client("orders"), at(0)).unwrap(), QuotaStatus::Within);
        assert_eq!(quotas.counts.len(), 0);
    }
}
