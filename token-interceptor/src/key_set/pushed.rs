//! Keys and revocations that the issuer pushes: `m2m.token.v1.TrustService.WatchTrust`.
//!
//! A key arrives before its first use and a revocation within a second. So while the stream is live, an
//! unknown key is not the issuer's. When the stream is lost, the last state is used until it is too old. Then
//! every token is rejected, as a revocation may have been missed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use token_proto::token::v1::{
    self, GetIssuerRequest, KeyState, WatchTrustRequest, WatchTrustResponse, trust_service_client::TrustServiceClient,
};
use tokio::time::{Instant, interval, sleep, timeout};
use tonic::transport::Channel;

use super::{
    KeySet,
    held::Held,
    remote::random,
    schedule::UnknownKey,
    task::{Task, lock},
};
use crate::{clock::Clock, http_client, revocation::Revocations};

/// The longest silence on the stream. The server sends a heartbeat every 10 seconds; after three missed ones
/// the stream is dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest wait for the stream to begin.
const CONNECT_MAX: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The largest message, in bytes: a snapshot of 100,000 revocations fits.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The interval between removals of expired revocations, in seconds.
const FORGET_EVERY: u64 = 60;

/// The pushed trust of one issuer. Its task ends when it is dropped.
#[derive(Debug)]
pub(crate) struct PushedTrust {
    shared: Arc<Shared>,
    task: Task,
}

/// The source and the destination of pushed trust.
#[derive(Debug)]
pub(crate) struct Push {
    pub(crate) channel: Channel,
    pub(crate) revocations: Revocations,
    /// The time for which the last state may be used after the stream was lost.
    pub(crate) stale_after: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shared {
    held: Held,
    push: Push,
    heard: Mutex<Instant>,
    /// True once a message has arrived on the open stream.
    live: AtomicBool,
    /// True once the stream was silent for longer than `stale_after`.
    stale: AtomicBool,
}

impl PushedTrust {
    pub(crate) fn new(issuer: Arc<str>, push: Push) -> Self {
        let shared = Shared {
            held: Held::new(issuer),
            push,
            heard: Mutex::new(Instant::now()),
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

    pub(crate) fn version(&self) -> u64 {
        self.shared.held.version()
    }

    /// Returns the current keys; `None` before the first snapshot.
    pub(crate) fn keys(&self) -> Option<Arc<KeySet>> {
        self.shared.held.keys()
    }

    /// Returns true if the state is too old to rely on.
    pub(crate) fn is_stale(&self) -> bool {
        let stale = self.shared.stale.load(Ordering::Acquire);
        if stale {
            self.start();
        }
        stale
    }

    /// Handles a token whose key is not cached.
    pub(crate) fn unknown_key(&self) -> UnknownKey {
        self.start();
        if self.shared.live.load(Ordering::Acquire) {
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

/// The state that the messages add up to.
#[derive(Default)]
struct State {
    version: String,
    /// JWKs by `kid`.
    keys: BTreeMap<String, String>,
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
            tracing::warn!(issuer, reason, "lost the trust stream; the last state stays in use");
            let pause = FIRST_PAUSE.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX);
            sleep(pause.mul_f64(0.5 + random() / 2.0)).await;
        }
    }

    /// Follows the stream until it is lost. Returns the reason.
    async fn follow_once(&self, state: &mut State) -> &'static str {
        let client = TrustServiceClient::new(self.push.channel.clone());
        let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
        let described = timeout(CONNECT_MAX, client.get_issuer(GetIssuerRequest {})).await;
        let described = match described {
            Ok(Ok(described)) => described,
            Ok(Err(status)) if http_client::is_of_unknown_ca(&status) => return http_client::OVER_GRPC,
            Ok(Err(_)) | Err(_) => return "the issuer does not answer",
        };
        let described = described.into_inner().issuer;
        if described.is_none_or(|described| *described.issuer != *self.held.issuer) {
            return "the TrustService is another issuer's";
        }
        let since_version = state.version.clone();
        let stream = timeout(CONNECT_MAX, client.watch_trust(WatchTrustRequest { since_version })).await;
        let Ok(Ok(stream)) = stream else { return "the issuer does not push" };
        let mut stream = stream.into_inner();
        loop {
            match timeout(SILENCE_MAX, stream.message()).await {
                Ok(Ok(Some(message))) => self.apply(state, message),
                Ok(Ok(None)) => return "the issuer closed the stream",
                Ok(Err(_)) => return "the stream broke off",
                Err(_) => return "no heartbeat arrived",
            }
        }
    }

    fn apply(&self, state: &mut State, message: WatchTrustResponse) {
        // Revocations first: a new key must not admit a token that the same message revokes.
        self.push.revocations.apply(message.snapshot, &message.revocations);
        if message.snapshot {
            state.keys.clear();
        }
        let changed = message.snapshot || !message.keys.is_empty() || !message.removed_key_ids.is_empty();
        for key in message.keys {
            if key.state() == KeyState::Distrusted {
                state.keys.remove(&key.key_id);
            } else {
                let v1::Key { key_id, jwk, .. } = key;
                state.keys.insert(key_id, jwk);
            }
        }
        for key_id in &message.removed_key_ids {
            state.keys.remove(key_id);
        }
        if changed {
            self.held.hold(KeySet::from_jwks_one_by_one(state.keys.values().map(String::as_str)));
        }
        state.version = message.version;
        *lock(&self.heard) = Instant::now();
        self.stale.store(false, Ordering::Release);
        self.live.store(true, Ordering::Release);
        self.held.tell();
    }

    /// Reports the age as a gauge, ends trust after `stale_after`, and removes expired revocations.
    async fn watch_age(&self) {
        let age_seconds = metrics::gauge!("token_trust_age_seconds", "issuer" => self.held.issuer.to_string());
        let mut seconds = interval(Duration::from_secs(1));
        for second in 1_u64.. {
            seconds.tick().await;
            let age = lock(&self.heard).elapsed();
            age_seconds.set(age.as_secs_f64());
            if age > self.push.stale_after {
                self.stale.store(true, Ordering::Release);
            }
            if second % FORGET_EVERY == 0 {
                self.push.revocations.forget(self.push.clock.now());
            }
        }
    }
}
