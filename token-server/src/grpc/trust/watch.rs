//! Trust as a stream: a snapshot in parts, then changes, with heartbeats between.
//!
//! A watcher stores its position, not a list of revocations. A message is created when there is room for it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, stream};
use token_issuer::{
    issuer::Issuer,
    key::PublishedKeys,
    revocation::{Part, Position},
};
use token_proto::token::v1;
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::{
    encode,
    slots::Slot,
    stall::Watchdog,
    state::{Latest, WireKeys},
};
use crate::connection::ConnectionInfo;

/// The interval of heartbeats. A verifier that receives nothing for a few intervals reconnects.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The most revocations in one message, each of some 40 bytes. A stream that is not read holds one message in
/// memory.
const ENTRIES_MAX: usize = 256;

/// The stream of messages to a watcher. It ends when the server drains.
pub struct TrustStream {
    messages: Pin<Box<dyn Stream<Item = Result<v1::WatchTrustResponse, Status>> + Send>>,
    watchdog: Watchdog,
}

/// Starts the stream with a snapshot, unless the watcher's state is remembered. If the stream is not read,
/// `line` is closed.
pub(super) fn stream(
    issuer: Arc<Issuer>,
    latest: Arc<Latest>,
    since_version: &str,
    line: Option<&ConnectionInfo>,
    slot: Slot,
) -> TrustStream {
    let (mut keys, revoked) = (issuer.keys().subscribe(), issuer.revocations().subscribe());
    let present = latest.keys(&keys.borrow_and_update().clone());
    let end = issuer.revocations().read(*revoked.borrow(), ENTRIES_MAX);
    let is_current = end.is_last && latest.version(&present, &end) == since_version;
    let position = if is_current { end.next } else { latest.position_of(since_version).unwrap_or_default() };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        closing: issuer.closing(),
        issuer,
        latest,
        keys,
        revoked,
        sent_keys: is_current.then_some(present),
        position,
        step: Step::Begun,
        heartbeat,
        _slot: slot,
    };
    let messages = stream::unfold(watcher, |mut watcher| async {
        let message = watcher.next().await?;
        Some((Ok(message), watcher))
    });
    TrustStream { messages: Box::pin(messages), watchdog: Watchdog::of(line) }
}

impl Stream for TrustStream {
    type Item = Result<v1::WatchTrustResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.watchdog.read();
        self.messages.as_mut().poll_next(cx)
    }
}

struct Watcher {
    issuer: Arc<Issuer>,
    latest: Arc<Latest>,
    closing: watch::Receiver<bool>,
    keys: watch::Receiver<Arc<PublishedKeys>>,
    revoked: watch::Receiver<Position>,
    /// The keys that the watcher has; `None` before the first message.
    sent_keys: Option<Arc<WireKeys>>,
    /// The revocations that the watcher has.
    position: Position,
    step: Step,
    heartbeat: Interval,
    _slot: Slot,
}

/// The progress of sending a step.
enum Step {
    /// Nothing.
    Begun,
    /// Some parts.
    Continues,
    /// All.
    Complete,
}

impl Watcher {
    /// The next message; `None` once the server drains.
    async fn next(&mut self) -> Option<v1::WatchTrustResponse> {
        match self.step {
            Step::Begun => {}
            // The connection gets one part at a time, so that other streams proceed.
            Step::Continues => yield_now().await,
            Step::Complete => self.wait().await?,
        }
        Some(self.message())
    }

    /// Waits until there may be changes, or a heartbeat is due.
    async fn wait(&mut self) -> Option<()> {
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => None,
            changed = self.keys.changed() => changed.ok(),
            changed = self.revoked.changed() => changed.ok(),
            _ = self.heartbeat.tick() => Some(()),
        }
    }

    fn message(&mut self) -> v1::WatchTrustResponse {
        // Marked as seen first, so that later changes are sent next time.
        let keys = self.latest.keys(&self.keys.borrow_and_update().clone());
        self.revoked.borrow_and_update();
        let part = self.issuer.revocations().read(self.position, ENTRIES_MAX);
        let message = match &self.sent_keys {
            None => keys.snapshot(),
            Some(before) if Arc::ptr_eq(before, &keys) => v1::WatchTrustResponse::default(),
            Some(before) => keys.compared_to(before),
        };
        let version = if part.is_last { self.latest.version(&keys, &part) } else { String::new() };
        let Part { entries, next, is_last, .. } = part;
        (self.sent_keys, self.position) = (Some(keys), next);
        self.step = if is_last { Step::Complete } else { Step::Continues };
        v1::WatchTrustResponse {
            version,
            server_time: Some(self.issuer.clock().now().into()),
            revocations: entries.iter().map(encode::revocation).collect(),
            more_follows: !is_last,
            ..message
        }
    }
}
