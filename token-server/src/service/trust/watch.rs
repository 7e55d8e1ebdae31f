//! Trust as a stream: a snapshot, then deltas, with heartbeats in between.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use token_proto::token::v1;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::state::{Latest, State};
use crate::{issuer::Issuer, key::PublishedKeys, revocation::Revoked};

/// The interval between heartbeats. A verifier that misses a few of them reconnects.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The stream that a watcher receives.
pub(super) type TrustStream = Pin<Box<dyn Stream<Item = Result<v1::WatchTrustResponse, Status>> + Send>>;

/// Returns a stream that begins with a snapshot, unless the watcher already has the current state.
pub(super) fn stream(issuer: Arc<Issuer>, latest: Arc<Latest>, since_version: &str) -> TrustStream {
    let (mut keys, mut revoked) = (issuer.keys().subscribe(), issuer.revocations().subscribe());
    let sent = latest.state(keys.borrow_and_update().clone(), revoked.borrow_and_update().clone());
    let first = if sent.version() == since_version { sent.nothing_new() } else { sent.snapshot() };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let closing = issuer.closing();
    let watcher = Watcher { issuer, latest, closing, keys, revoked, sent, heartbeat, first: Some(first) };
    Box::pin(stream::unfold(watcher, |mut watcher| async {
        let message = watcher.next().await?;
        Some((Ok(message), watcher))
    }))
}

struct Watcher {
    issuer: Arc<Issuer>,
    latest: Arc<Latest>,
    closing: watch::Receiver<bool>,
    keys: watch::Receiver<Arc<PublishedKeys>>,
    revoked: watch::Receiver<Revoked>,
    /// The state that the watcher has after the last message.
    sent: Arc<State>,
    heartbeat: Interval,
    first: Option<v1::WatchTrustResponse>,
}

impl Watcher {
    /// Returns the next message, or `None` once the server drains.
    async fn next(&mut self) -> Option<v1::WatchTrustResponse> {
        let mut message = match self.first.take() {
            Some(first) => first,
            None => self.wait().await?,
        };
        message.server_time = Some(self.issuer.clock().now().into());
        Some(message)
    }

    async fn wait(&mut self) -> Option<v1::WatchTrustResponse> {
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => return None,
            changed = self.keys.changed() => changed.ok()?,
            changed = self.revoked.changed() => changed.ok()?,
            _ = self.heartbeat.tick() => return Some(self.sent.nothing_new()),
        }
        let (keys, revoked) = (self.keys.borrow_and_update().clone(), self.revoked.borrow_and_update().clone());
        let present = self.latest.state(keys, revoked);
        let delta = present.delta(&self.sent);
        self.sent = present;
        Some(delta)
    }
}
