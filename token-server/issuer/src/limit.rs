//! Rate limits: per peer before anything is read, per client after authentication. Failed authentications
//! have their own.
//!
//! * Only an authenticated client spends its own budget, so a caller cannot spend another client's.
//! * Failures are counted per peer *and* claimed client ID, and only for secrets that may be guessed:
//!   imported ones. A service with a stale secret locks out itself. Its neighbours behind the same address,
//!   and the client elsewhere, are not affected. Behind the same address, a secret that succeeded before is
//!   still accepted.
//! * Attackers choose the keys, so each table has a fixed capacity. An evicted key starts afresh.

mod quota;

use std::{
    hash::{BuildHasher, Hash, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{
    DefaultDirectRateLimiter, NotUntil, Quota as RateQuota, RateLimiter, clock::Clock as _, clock::DefaultClock,
};
use quick_cache::sync::Cache;

pub use quota::{Quota, QuotaMode, QuotaSettings};
pub(crate) use quota::{QuotaStatus, Quotas};

use crate::{
    client::ClientId,
    error::{Budget, IssueError},
    origin::Peer,
};

/// A rate: a burst of requests, and one more after each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The number of requests admitted at once after a pause.
    pub burst: NonZeroU32,
    /// The period in which one request is admitted on average.
    pub period: Duration,
}

impl Rate {
    /// Returns a rate of `requests` per second on average. 0 counts as 1.
    #[must_use]
    pub fn per_second(requests: u32, burst: u32) -> Self {
        Self::every(Duration::from_secs(1) / requests.max(1), burst)
    }

    /// Returns a rate of one request per period on average. A burst of 0 counts as 1, a period of 0 as a
    /// nanosecond.
    #[must_use]
    pub fn every(period: Duration, burst: u32) -> Self {
        let period = period.max(Duration::from_nanos(1));
        Self { burst: NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN), period }
    }

    fn quota(self) -> RateQuota {
        let quota = RateQuota::with_period(self.period).unwrap_or(RateQuota::per_second(NonZeroU32::MIN));
        quota.allow_burst(self.burst)
    }
}

/// The rate limits. `None` means no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// All requests of one peer, accepted or rejected.
    pub peer: Option<Rate>,
    /// Requests of one authenticated client.
    pub client: Option<Rate>,
    /// Failed authentications of one client ID from one peer, with secrets that may be guessed.
    pub failure: Option<Rate>,
    /// Revocations of single tokens by the client that they were issued to. Every verifier keeps each one
    /// until its token expires. Without a limit, one client could fill the memory of all verifiers.
    pub revocation: Option<Rate>,
    /// The capacity of each table, in keys.
    pub keys_max: usize,
}

/// The default rate of one peer's requests.
pub const PEER_REQUESTS_PER_SECOND: u32 = 100_000;
/// The default rate of one client's requests.
pub const CLIENT_REQUESTS_PER_SECOND: u32 = 50_000;
/// The default rate of failed authentications of one client from one peer.
pub const FAILURES_PER_SECOND: u32 = 10;

impl Default for LimitSettings {
    /// Generous defaults: they stop a runaway loop or an attack, and never normal use.
    fn default() -> Self {
        Self {
            peer: Some(Rate::per_second(PEER_REQUESTS_PER_SECOND, PEER_REQUESTS_PER_SECOND)),
            client: Some(Rate::per_second(CLIENT_REQUESTS_PER_SECOND, CLIENT_REQUESTS_PER_SECOND)),
            failure: Some(Rate::per_second(FAILURES_PER_SECOND, 100)),
            revocation: Some(Rate::per_second(10, 1000)),
            keys_max: 65_536,
        }
    }
}

impl LimitSettings {
    /// Returns settings without any limit.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { peer: None, client: None, failure: None, revocation: None, keys_max: 1 }
    }
}

/// The limits of one issuer, shared by gRPC and HTTP.
#[derive(Debug)]
pub struct Limits {
    peers: Option<Table<Peer, Bucket>>,
    clients: Option<Table<ClientId, Bucket>>,
    failures: Option<Table<u64, FailureBucket>>,
    /// Client IDs with secrets that succeeded, as keyed hashes.
    right: Cache<u64, ()>,
    revocations: Option<Table<ClientId, Bucket>>,
    hasher: RandomState,
    started: Instant,
}

impl Limits {
    /// Creates empty tables.
    #[must_use]
    pub fn new(settings: LimitSettings) -> Self {
        Self {
            peers: settings.peer.map(|rate| Table::new(rate, settings.keys_max)),
            clients: settings.client.map(|rate| Table::new(rate, settings.keys_max)),
            failures: settings.failure.map(|rate| Table::new(rate, settings.keys_max)),
            revocations: settings.revocation.map(|rate| Table::new(rate, settings.keys_max)),
            right: Cache::new(settings.keys_max.max(1)),
            hasher: RandomState::new(),
            started: Instant::now(),
        }
    }

    /// Admits one request of a peer.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] if its budget is spent.
    pub fn peer(&self, peer: Peer) -> Result<(), IssueError> {
        let Some(table) = &self.peers else { return Ok(()) };
        table.bucket(&peer.network()).check().map_err(|not_until| limited(Budget::Peer, &not_until))
    }

    /// Admits one request of an authenticated client.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] if its budget is spent.
    pub fn client(&self, client: &ClientId) -> Result<(), IssueError> {
        let Some(table) = &self.clients else { return Ok(()) };
        table.bucket(client).check().map_err(|not_until| limited(Budget::Client, &not_until))
    }

    /// Admits one revocation of a single token by an authenticated client.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] if its budget is spent. An operator can still revoke all of its tokens at
    /// once.
    pub fn revocation(&self, client: &ClientId) -> Result<(), IssueError> {
        let Some(table) = &self.revocations else { return Ok(()) };
        table.bucket(client).check().map_err(|not_until| limited(Budget::Revocations, &not_until))
    }

    /// Admits an attempt to authenticate with a secret that may be guessed. Only a failure spends the budget.
    ///
    /// # Errors
    ///
    /// [`IssueError::RateLimited`] after too many failures of the same client ID from the same peer. A
    /// correct secret is also rejected unless it succeeded before; otherwise an attacker would see that a
    /// guess is correct.
    pub fn attempt(&self, peer: Peer, claimed_client_id: &str, secret: &str) -> Result<(), IssueError> {
        let Some(table) = &self.failures else { return Ok(()) };
        let Some(bucket) = table.cache.get(&self.failure_key(peer, claimed_client_id)) else { return Ok(()) };
        let until = Duration::from_nanos(bucket.blocked_until_nanos.load(Ordering::Relaxed));
        match until.checked_sub(self.started.elapsed()) {
            Some(retry_after) if !retry_after.is_zero() => {
                if self.right.get(&self.right_key(claimed_client_id, secret)).is_some() {
                    return Ok(());
                }
                Err(IssueError::RateLimited { budget: Budget::Failures, retry_after })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Remembers a secret that succeeded, so that a stranger's failures do not lock its client out.
    pub fn succeeded(&self, client_id: &str, secret: &str) {
        if self.failures.is_some() {
            self.right.insert(self.right_key(client_id, secret), ());
        }
    }

    /// Counts a failed authentication.
    pub fn failed(&self, peer: Peer, claimed_client_id: &str) {
        let Some(table) = &self.failures else { return };
        let bucket = table.bucket(&self.failure_key(peer, claimed_client_id));
        if let Err(not_until) = bucket.limiter.check() {
            let until = self.started.elapsed() + not_until.wait_time_from(DefaultClock::default().now());
            let nanos = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
            bucket.blocked_until_nanos.store(nanos, Ordering::Relaxed);
        }
    }

    /// Returns a hash of the pair, so that the table keeps nothing that the caller sent. The hash is keyed,
    /// so an attacker cannot aim at another client's bucket.
    fn failure_key(&self, peer: Peer, claimed_client_id: &str) -> u64 {
        self.hasher.hash_one((peer.network(), claimed_client_id))
    }

    fn right_key(&self, client_id: &str, secret: &str) -> u64 {
        self.hasher.hash_one((client_id, secret))
    }
}

fn limited(budget: Budget, not_until: &NotUntil<governor::clock::QuantaInstant>) -> IssueError {
    IssueError::RateLimited { budget, retry_after: not_until.wait_time_from(DefaultClock::default().now()) }
}

type Bucket = DefaultDirectRateLimiter;

#[derive(Debug)]
struct FailureBucket {
    limiter: Bucket,
    /// Nanoseconds since the limits were created.
    blocked_until_nanos: AtomicU64,
}

trait FromQuota {
    fn from_quota(quota: RateQuota) -> Self;
}

impl FromQuota for Bucket {
    fn from_quota(quota: RateQuota) -> Self {
        RateLimiter::direct(quota)
    }
}

impl FromQuota for FailureBucket {
    fn from_quota(quota: RateQuota) -> Self {
        Self { limiter: RateLimiter::direct(quota), blocked_until_nanos: AtomicU64::new(0) }
    }
}

/// A bucket per key, with a fixed maximum of keys.
#[derive(Debug)]
struct Table<K, B> {
    cache: Cache<K, Arc<B>>,
    quota: RateQuota,
}

impl<K: Hash + Eq + Clone, B: FromQuota> Table<K, B> {
    fn new(rate: Rate, keys_max: usize) -> Self {
        Self { cache: Cache::new(keys_max.max(1)), quota: rate.quota() }
    }

    fn bucket(&self, key: &K) -> Arc<B> {
        if let Some(bucket) = self.cache.get(key) {
            return bucket;
        }
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(B::from_quota(self.quota)));
        match self.cache.get_or_insert_with(key, fresh) {
            Ok(bucket) => bucket,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn peer(last: u8) -> Peer {
        Peer::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn client(id: &str) -> ClientId {
        ClientId::try_from(id).unwrap()
    }

    fn limits() -> Limits {
        let rate = Some(Rate::every(Duration::from_secs(3600), 2));
        Limits::new(LimitSettings { peer: rate, client: rate, failure: rate, revocation: rate, keys_max: 100 })
    }

    #[test]
    fn peer_is_refused_after_its_burst_and_its_neighbour_is_not() {
        let limits = limits();
        assert!(limits.peer(peer(1)).is_ok());
        assert!(limits.peer(peer(1)).is_ok());
        let Err(IssueError::RateLimited { retry_after, .. }) = limits.peer(peer(1)) else { panic!("admitted") };
        assert!(!retry_after.is_zero() && retry_after <= Duration::from_secs(3600));
        assert!(limits.peer(peer(2)).is_ok());
    }

    #[test]
    fn client_is_refused_after_its_burst_and_another_is_not() {
        let limits = limits();
        assert!(limits.client(&client("orders")).is_ok());
        assert!(limits.client(&client("orders")).is_ok());
        assert!(limits.client(&client("orders")).is_err());
        assert!(limits.client(&client("billing")).is_ok());
    }

    #[test]
    fn failures_block_one_client_id_from_one_peer_and_nothing_else() {
        let limits = limits();
        for _ in 0..3 {
            assert!(limits.attempt(peer(1), "orders", "guess").is_ok());
            limits.failed(peer(1), "orders");
        }
        assert!(limits.attempt(peer(1), "orders", "guess").is_err());
        assert!(limits.attempt(peer(2), "orders", "guess").is_ok());
        assert!(limits.attempt(peer(1), "billing", "guess").is_ok());
    }

    #[test]
    fn secret_that_was_right_before_is_never_locked_out() {
        let limits = limits();
        limits.succeeded("orders", "right");
        for _ in 0..10 {
            limits.failed(peer(1), "orders");
        }
        assert!(limits.attempt(peer(1), "orders", "guess").is_err());
        assert!(limits.attempt(peer(1), "orders", "right").is_ok());
        assert!(limits.attempt(peer(1), "billing", "right").is_ok(), "no failures");
        limits.failed(peer(1), "billing");
        limits.failed(peer(1), "billing");
        limits.failed(peer(1), "billing");
        assert!(limits.attempt(peer(1), "billing", "right").is_err(), "right for another client alone");
    }

    #[test]
    fn attempts_without_failures_spend_nothing() {
        let limits = limits();
        for _ in 0..100 {
            assert!(limits.attempt(peer(1), "orders", "guess").is_ok());
        }
    }

    #[test]
    fn tables_stay_within_their_capacity() {
        let limits = limits();
        for n in 0..10_000_u32 {
            let peer = Peer::from(IpAddr::V4(Ipv4Addr::from(n)));
            limits.failed(peer, &format!("invented-{n}"));
            limits.succeeded(&format!("invented-{n}"), "right");
            let _ = limits.peer(peer);
            let _ = limits.client(&client(&format!("client-{n}")));
            let _ = limits.revocation(&client(&format!("client-{n}")));
        }
        assert!(limits.right.len() <= 100);
        assert!(limits.failures.unwrap().cache.len() <= 100);
        assert!(limits.peers.unwrap().cache.len() <= 100);
        assert!(limits.clients.unwrap().cache.len() <= 100);
        assert!(limits.revocations.unwrap().cache.len() <= 100);
    }

    #[test]
    fn unlimited_never_refuses() {
        let limits = Limits::new(LimitSettings::unlimited());
        for _ in 0..1000 {
            limits.failed(peer(1), "orders");
            assert!(limits.peer(peer(1)).is_ok());
            assert!(limits.attempt(peer(1), "orders", "guess").is_ok());
        }
    }
}
