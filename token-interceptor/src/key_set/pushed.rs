//! Keys and revocations that the issuer pushes: `m2m.token.v1.TrustService.WatchTrust`.
//!
//! A key arrives before its first use and a revocation within a second. So while the stream is live, an
//! unknown key is not the issuer's. When the stream is lost, the last state is used until it is too old. Then
//! every token is rejected, as a revocation may have been missed.

mod stream;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::time::{Instant, interval, sleep};
use tonic::transport::Channel;

use super::{
    KeySet,
    held::Held,
    remote::random,
    schedule::UnknownKey,
    task::{Task, lock},
};
use crate::{
    clock::{Clock, numeric_date},
    revocation::Revocations,
};
use stream::State;

/// The longest silence on the stream. The server sends a heartbeat every 10 seconds; after three missed ones
/// the stream is dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The interval between removals of expired revocations, in seconds.
const FORGET_EVERY: u64 = 60;

/// The pushed trust of one issuer. Its task ends when it is dropped.
#[derive(Debug)]
pub(crate) struct PushedTrust {
    shared: Arc<Shared>,
    task: Task,
}

/// The source of pushed trust, and the time for which it may be used.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) channel: Channel,
    /// The time for which the last state may be used after the stream was lost.
    pub(crate) stale_after: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shared {
    held: Held,
    push: Push,
    /// The revocations of the issuer. Only ever added to: a snapshot takes nothing back.
    revocations: Revocations,
    heard: Mutex<Heard>,
    /// True once a step has arrived on the open stream.
    live: AtomicBool,
    /// True once the stream was silent for longer than `stale_after`.
    stale: AtomicBool,
    /// The same by the time of day, as a NumericDate: a machine that was suspended does not count that time.
    stale_from: AtomicU64,
}

/// The time at which the state was last known to be whole, by three clocks.
#[derive(Clone, Copy, Debug)]
struct Heard {
    at: Instant,
    /// By the verifier's clock.
    local: SystemTime,
    /// By the issuer's clock, if the issuer sent its time.
    issuers: Option<SystemTime>,
}

impl Heard {
    /// The two clocks of this machine need not agree: one stops while it is suspended, the other can be set.
    fn age(&self, now: SystemTime) -> Duration {
        self.at.elapsed().max(now.duration_since(self.local).unwrap_or_default())
    }

    /// The time by which entries expire: the earlier of the two clocks, so that neither removes an entry too
    /// early.
    fn safe_now(&self, now: SystemTime) -> SystemTime {
        let issuers = self.issuers.and_then(|issuers| issuers.checked_add(self.at.elapsed()));
        issuers.map_or(now, |issuers| issuers.min(now))
    }
}

impl PushedTrust {
    pub(crate) fn new(issuer: Arc<str>, push: Push) -> Self {
        let heard = Heard { at: Instant::now(), local: push.clock.now(), issuers: None };
        let shared = Shared {
            held: Held::new(issuer),
            stale_from: AtomicU64::new(stale_from(heard, push.stale_after)),
            push,
            revocations: Revocations::new(),
            heard: Mutex::new(heard),
            live: AtomicBool::new(false),
            stale: AtomicBool::new(false),
        };
        let trust = Self { shared: Arc::new(shared), task: Task::default() };
        trust.start();
        trust
    }

    fn start(&self) {
        self.task.ensure(|| keep(Arc::clone(&self.shared)));
    }

    /// Ends the task for good.
    pub(crate) fn end(&self) {
        self.task.end();
    }

    pub(crate) fn version(&self) -> u64 {
        self.shared.held.version()
    }

    /// Returns the current keys; `None` before the first snapshot.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.held.keys()
    }

    /// Returns the revocations of the issuer.
    pub(crate) fn revocations(&self) -> &Revocations {
        &self.shared.revocations
    }

    /// Returns true if the state is too old at `now` to rely on.
    pub(crate) fn is_stale(&self, now: SystemTime) -> bool {
        let shared = &self.shared;
        let stale =
            shared.stale.load(Ordering::Acquire) || numeric_date(now) > shared.stale_from.load(Ordering::Acquire);
        if stale {
            self.start();
        }
        stale
    }

    /// Handles a token whose key is not cached.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        self.start();
        let age = lock(&self.shared.heard).age(self.shared.push.clock.now());
        if self.shared.live.load(Ordering::Acquire) && age <= SILENCE_MAX {
            return UnknownKey::Refuse;
        }
        match self.keys() {
            None => UnknownKey::Wait,
            Some(_) => UnknownKey::Unavailable { retry_after: PAUSE_MAX },
        }
    }

    pub(crate) fn news(&self) -> u64 {
        self.shared.held.news()
    }

    pub(crate) async fn news_since(&self, news: u64) -> Result<(), Duration> {
        self.shared.held.news_since(news).await
    }
}

/// The task: follows the stream and watches its age.
async fn keep(shared: Arc<Shared>) {
    let _silent = WhenGone(&shared);
    tokio::join!(shared.follow(), shared.watch_age());
}

/// Marks the stream as lost when the task ends, for any reason: the state only gets older from then on.
struct WhenGone<'a>(&'a Shared);

impl Drop for WhenGone<'_> {
    fn drop(&mut self) {
        self.0.live.store(false, Ordering::Release);
        self.0.stale.store(true, Ordering::Release);
    }
}

/// The last second at which that state is fresh enough.
fn stale_from(heard: Heard, stale_after: Duration) -> u64 {
    numeric_date(heard.local).saturating_add(stale_after.as_secs())
}

impl Shared {
    async fn follow(&self) {
        let (mut state, mut failures) = (State::default(), 0_u32);
        loop {
            let before = self.held.news();
            let reason = self.follow_once(&mut state).await;
            self.live.store(false, Ordering::Release);
            failures = if self.held.news() > before { 0 } else { failures.saturating_add(1) };
            let issuer = &*self.held.issuer;
            metrics::counter!("token_trust_streams_lost_total", "issuer" => issuer.to_owned()).increment(1);
            tracing::warn!(issuer, reason = &*reason, "lost the trust stream; the last state stays in use");
            let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
            sleep(pause.mul_f64(0.5 + random() / 2.0)).await;
        }
    }

    /// The state is whole as of this moment.
    fn heard(&self, issuers: Option<SystemTime>) {
        let heard = Heard { at: Instant::now(), local: self.push.clock.now(), issuers };
        *lock(&self.heard) = heard;
        self.stale_from.store(stale_from(heard, self.push.stale_after), Ordering::Release);
        self.stale.store(false, Ordering::Release);
        self.live.store(true, Ordering::Release);
        self.held.tell();
    }

    fn hold(&self, jwks: &std::collections::BTreeMap<String, String>) {
        self.held.hold(KeySet::from_jwks_one_by_one(jwks.values().map(String::as_str)));
    }

    /// Reports the age as a gauge, ends trust after `stale_after`, and removes expired revocations.
    async fn watch_age(&self) {
        let age_seconds = metrics::gauge!("token_trust_age_seconds", "issuer" => self.held.issuer.to_string());
        let mut seconds = interval(Duration::from_secs(1));
        for second in 1_u64.. {
            seconds.tick().await;
            let (heard, now) = (*lock(&self.heard), self.push.clock.now());
            let age = heard.age(now);
            age_seconds.set(age.as_secs_f64());
            if age > self.push.stale_after {
                self.stale.store(true, Ordering::Release);
            }
            if second % FORGET_EVERY == 0 {
                self.revocations.forget(heard.safe_now(now));
            }
        }
    }
}
