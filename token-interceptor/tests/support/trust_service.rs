//! A `TrustService` that pushes the test's messages.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::Stream;
use token_interceptor::test_util::TestIssuer;
use token_proto::token::v1::{
    self, GetIssuerRequest, GetIssuerResponse, ListKeysRequest, ListKeysResponse, WatchTrustRequest,
    WatchTrustResponse, trust_service_server::TrustService,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status};

/// Shared between the test and its server.
#[derive(Clone, Debug)]
pub(crate) struct Trust(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    issuer: String,
    /// The first message for a watcher without state.
    snapshot: WatchTrustResponse,
    version: u64,
    watchers: Vec<mpsc::UnboundedSender<Result<WatchTrustResponse, Status>>>,
    /// The state that each watcher claimed to have.
    resumed_from: Vec<String>,
    /// The revocation in the second part of a snapshot, and the signal that releases that part.
    second_part: Option<(v1::Revocation, Arc<Notify>)>,
}

impl Trust {
    pub(crate) fn new(issuer: &str, keys: Vec<v1::Key>) -> Self {
        let snapshot = WatchTrustResponse { snapshot: true, version: "0".to_owned(), keys, ..Default::default() };
        let (version, watchers, resumed_from) = (0, Vec::new(), Vec::new());
        let (issuer, second_part) = (issuer.to_owned(), None);
        Self(Arc::new(Mutex::new(State { issuer, snapshot, version, watchers, resumed_from, second_part })))
    }

    /// From now on, sends a snapshot in two parts. The second has `revocation` and is sent when it is
    /// released.
    pub(crate) fn in_two_parts(&self, revocation: v1::Revocation) -> Arc<Notify> {
        let release = Arc::<Notify>::default();
        self.0.lock().unwrap().second_part = Some((revocation, Arc::clone(&release)));
        release
    }

    /// Makes the server send a snapshot to each watcher that returns, without the earlier revocations.
    pub(crate) fn forget_versions(&self) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        state.snapshot.version = state.version.to_string();
        state.snapshot.revocations.clear();
    }

    /// Pushes a change to the connected watchers, and keeps it for later ones.
    pub(crate) fn push(&self, mut delta: WatchTrustResponse) {
        let mut state = self.0.lock().unwrap();
        state.version += 1;
        delta.version = state.version.to_string();
        let snapshot = &mut state.snapshot;
        snapshot.version.clone_from(&delta.version);
        for key in &delta.keys {
            snapshot.keys.retain(|held| held.key_id != key.key_id);
        }
        snapshot.keys.extend(delta.keys.iter().cloned());
        snapshot.keys.retain(|key| !delta.removed_key_ids.contains(&key.key_id));
        snapshot.revocations.extend(delta.revocations.iter().cloned());
        state.watchers.retain(|watcher| watcher.send(Ok(delta.clone())).is_ok());
    }

    pub(crate) fn resumed_from(&self) -> Vec<String> {
        self.0.lock().unwrap().resumed_from.clone()
    }
}

/// Returns a key in some state of its life cycle.
pub(crate) fn key(issuer: &TestIssuer, state: v1::KeyState) -> v1::Key {
    let jwk = issuer.key().public_jwk().to_json();
    v1::Key { key_id: issuer.key_id(), jwk, state: state.into(), ..Default::default() }
}

#[tonic::async_trait]
impl TrustService for Trust {
    async fn get_issuer(&self, _: Request<GetIssuerRequest>) -> Result<Response<GetIssuerResponse>, Status> {
        let issuer = self.0.lock().unwrap().issuer.clone();
        Ok(Response::new(GetIssuerResponse { issuer: Some(v1::Issuer { issuer, ..Default::default() }) }))
    }

    async fn list_keys(&self, _: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let keys = self.0.lock().unwrap().snapshot.keys.clone();
        Ok(Response::new(ListKeysResponse { keys, max_age: None }))
    }

    type WatchTrustStream = Pin<Box<dyn Stream<Item = Result<WatchTrustResponse, Status>> + Send>>;

    async fn watch_trust(
        &self,
        request: Request<WatchTrustRequest>,
    ) -> Result<Response<Self::WatchTrustStream>, Status> {
        let since_version = request.into_inner().since_version;
        let mut state = self.0.lock().unwrap();
        let (sender, receiver) = mpsc::unbounded_channel();
        let nothing_new = WatchTrustResponse { version: state.snapshot.version.clone(), ..Default::default() };
        let mut first = if since_version == nothing_new.version { nothing_new } else { state.snapshot.clone() };
        state.resumed_from.push(since_version);
        if let Some((revocation, release)) = &state.second_part {
            let version = std::mem::take(&mut first.version);
            first.more_follows = true;
            let second = WatchTrustResponse { version, revocations: vec![revocation.clone()], ..Default::default() };
            let (sender, release) = (sender.clone(), Arc::clone(release));
            let _ = sender.send(Ok(first));
            tokio::spawn(async move {
                release.notified().await;
                let _ = sender.send(Ok(second));
            });
            return Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))));
        }
        let _ = sender.send(Ok(first));
        state.watchers.push(sender.clone());
        let version = state.snapshot.version.clone();
        tokio::spawn(async move {
            let heartbeat = WatchTrustResponse { version, ..Default::default() };
            while sender.send(Ok(heartbeat.clone())).is_ok() {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }
}
