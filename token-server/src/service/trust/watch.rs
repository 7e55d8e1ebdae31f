//! Trust as a stream: a snapshot, then what changes, and heartbeats between.

use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{Stream, stream};
use ring::digest;
use token_proto::v1;
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::encode;
use crate::{issuer::Issuer, key::PublishedKeys};

/// Between heartbeats: a verifier that hears nothing for a few of these reconnects.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// What a watcher receives.
pub(super) type TrustStream = Pin<Box<dyn Stream<Item = Result<v1::WatchTrustResponse, Status>> + Send>>;

/// Begins with a snapshot, unless the watcher holds the present state already.
pub(super) fn stream(issuer: Arc<Issuer>, since_version: &str) -> TrustStream {
    let mut keys = issuer.keys().subscribe();
    let sent = Sent::of(&keys.borrow_and_update());
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = if sent.version == since_version { sent.nothing_new() } else { sent.snapshot() };
    let watcher = Watcher { closing: issuer.closing(), keys, sent, heartbeat, issuer, first: Some(first) };
    Box::pin(stream::unfold(watcher, |mut watcher| async {
        let message = watcher.next().await?;
        Some((Ok(message), watcher))
    }))
}

struct Watcher {
    issuer: Arc<Issuer>,
    closing: watch::Receiver<bool>,
    keys: watch::Receiver<Arc<PublishedKeys>>,
    sent: Sent,
    heartbeat: Interval,
    first: Option<v1::WatchTrustResponse>,
}

impl Watcher {
    /// The next message; `None` once the server drains.
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
            _ = self.closing.wait_for(|closing| *closing) => None,
            changed = self.keys.changed() => {
                changed.ok()?;
                let next = Sent::of(&self.keys.borrow_and_update());
                let delta = next.delta(&self.sent);
                self.sent = next;
                Some(delta)
            }
            _ = self.heartbeat.tick() => Some(self.sent.nothing_new()),
        }
    }
}

/// The state that a watcher has once it has received a message.
struct Sent {
    version: String,
    keys: BTreeMap<String, v1::Key>,
}

impl Sent {
    fn of(published: &PublishedKeys) -> Self {
        let keys: BTreeMap<_, _> =
            published.keys.iter().map(|key| (key.jwk.key_id().to_owned(), encode::key(key))).collect();
        Self { version: version(&keys), keys }
    }

    fn snapshot(&self) -> v1::WatchTrustResponse {
        v1::WatchTrustResponse { snapshot: true, keys: self.keys.values().cloned().collect(), ..self.nothing_new() }
    }

    fn nothing_new(&self) -> v1::WatchTrustResponse {
        v1::WatchTrustResponse { version: self.version.clone(), ..v1::WatchTrustResponse::default() }
    }

    /// What turns `before` into this.
    fn delta(&self, before: &Self) -> v1::WatchTrustResponse {
        let changed = self.keys.iter().filter(|(id, key)| before.keys.get(*id) != Some(key));
        let removed = before.keys.keys().filter(|id| !self.keys.contains_key(*id));
        v1::WatchTrustResponse {
            keys: changed.map(|(_, key)| key.clone()).collect(),
            removed_key_ids: removed.cloned().collect(),
            ..self.nothing_new()
        }
    }
}

/// Follows from the state alone, so that a watcher may resume at another replica.
fn version(keys: &BTreeMap<String, v1::Key>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for key in keys.values() {
        context.update(&prost::Message::encode_length_delimited_to_vec(key));
    }
    URL_SAFE_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(keys: &[(&str, v1::KeyState)]) -> Sent {
        let keys = keys.iter().map(|(id, state)| {
            let key = v1::Key { key_id: (*id).to_owned(), state: (*state).into(), ..v1::Key::default() };
            ((*id).to_owned(), key)
        });
        let keys = keys.collect();
        Sent { version: version(&keys), keys }
    }

    #[test]
    fn delta_holds_new_changed_and_removed_keys_and_nothing_else() {
        let before = sent(&[("a", v1::KeyState::Active), ("b", v1::KeyState::Retiring), ("c", v1::KeyState::Pending)]);
        let after = sent(&[("a", v1::KeyState::Active), ("c", v1::KeyState::Active), ("d", v1::KeyState::Pending)]);
        let delta = after.delta(&before);
        assert!(!delta.snapshot);
        assert_eq!(delta.keys.iter().map(|key| &*key.key_id).collect::<Vec<_>>(), ["c", "d"]);
        assert_eq!(delta.removed_key_ids, ["b"]);
        assert_eq!(delta.version, after.version);
    }

    #[test]
    fn version_changes_with_the_state_of_a_key_and_only_then() {
        let pending = sent(&[("a", v1::KeyState::Pending)]);
        assert_eq!(pending.version, sent(&[("a", v1::KeyState::Pending)]).version);
        assert_ne!(pending.version, sent(&[("a", v1::KeyState::Active)]).version);
    }
}
