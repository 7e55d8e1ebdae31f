//! Quotas: how many tokens a client is issued in each window of time. First observed, then enforced.
//!
//! Counted by this process alone, in memory: each replica has a count of its own, which begins anew with it. Only
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

/// Tokens beyond a quota, by what came of them.
pub(crate) const EXCEEDED: &str = "token_server_quota_exceeded_total";
/// Clients that are counted.
const CLIENTS_MAX: usize = 65_536;

/// What comes of a request beyond the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaMode {
    /// It is answered as any other, and on record: to find the number that harms nobody.
    Observe,
    /// It is refused until the window ends.
    Enforce,
}

/// One quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Tokens in each window.
    pub tokens: u64,
    /// What comes of more.
    pub mode: QuotaMode,
}

/// Which client has which quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Windows of this length, all beginning at the same moment.
    pub window: Duration,
    /// Of every client that has none of its own; `None` is no quota.
    pub default: Option<Quota>,
    /// Of single clients.
    pub clients: HashMap<ClientId, Quota>,
}

impl Default for QuotaSettings {
    fn default() -> Self {
        Self { window: Duration::from_secs(3600), default: None, clients: HashMap::new() }
    }
}

/// Counts of the current window.
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

/// How a request stands to its client's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Within,
    /// Beyond it, and answered all the same.
    Beyond,
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
    /// [`IssueError::RateLimited`] beyond a quota that is enforced.
    pub(crate) fn take(&self, client: &ClientId, now: SystemTime) -> Result<Standing, IssueError> {
        let QuotaSettings { window, default, clients } = &self.settings;
        let quota = if clients.is_empty() { default.as_ref() } else { clients.get(client).or(default.as_ref()) };
        let Some(quota) = quota else { return Ok(Standing::Within) };
        let (window, ends_in) = place(now, *window);
        if self.count(client, window, quota.tokens) {
            return Ok(Standing::Within);
        }
        match quota.mode {
            QuotaMode::Observe => {
                self.observed.increment(1);
                Ok(Standing::Beyond)
            }
            QuotaMode::Enforce => {
                self.refused.increment(1);
                Err(IssueError::RateLimited { budget: Budget::Quota, retry_after: ends_in })
            }
        }
    }

    /// Whether there was one left.
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

/// The number of the window at `now`, and how long it goes on.
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
    fn an_observed_quota_refuses_nobody_and_says_so() {
        let quotas = quotas(QuotaMode::Observe);
        let standing = || quotas.take(&client("orders"), at(0)).unwrap();
        assert_eq!([standing(), standing(), standing()], [Standing::Within, Standing::Within, Standing::Beyond]);
        assert_eq!(quotas.take(&client("billing"), at(0)).unwrap(), Standing::Within);
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
        assert_eq!(quotas.take(&client("orders"), at(0)).unwrap(), Standing::Within);
        assert_eq!(quotas.counts.len(), 0);
    }
}
