//! Health of each service, over gRPC (grpc.health.v1) and for probes over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::store::ChangeLog;

/// Services that answer from memory; the empty name stands for the server.
const FROM_MEMORY: [&str; 3] = ["", "token.v1.TokenService", "token.v1.TrustService"];
/// Services that need the store.
const FROM_STORE: [&str; 3] =
    ["token.admin.v1.AuditService", "token.admin.v1.ClientService", "token.admin.v1.KeyService"];
/// How often the store is asked whether it is there ...
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// ... and how long it may take to say so.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What the server says about its health.
#[derive(Clone, Debug)]
pub(super) struct Health {
    reporter: HealthReporter,
    serving: Arc<AtomicBool>,
}

impl Health {
    /// Nothing serves yet.
    pub(super) fn new() -> Self {
        Self { reporter: HealthReporter::new(), serving: Arc::new(AtomicBool::new(false)) }
    }

    /// Everything serves, or nothing does any more.
    pub(super) async fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
        self.set(&FROM_MEMORY, serving).await;
        self.set(&FROM_STORE, serving).await;
    }

    async fn set(&self, services: &[&str], serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in services {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Watches the store, until dropped. Without it known clients still get tokens: the server as a whole serves,
    /// the admin services do not.
    pub(super) async fn watch_store(self, store: Arc<dyn ChangeLog>) {
        let gauge = metrics::gauge!("token_server_store_reachable");
        let mut reachable = true;
        gauge.set(1.0);
        loop {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let answer = tokio::time::timeout(PROBE_TIMEOUT, store.last_change()).await;
            let now = matches!(answer, Ok(Ok(_)));
            if now != std::mem::replace(&mut reachable, now) {
                tracing::warn!(reachable, "the store");
                gauge.set(if reachable { 1.0 } else { 0.0 });
                self.set(&FROM_STORE, reachable && self.is_serving()).await;
            }
        }
    }

    /// Watches the file that declares the clients, until dropped. While it cannot be used, the last good clients get
    /// tokens, and what the admin API tells of clients is not what the file declares.
    pub(super) async fn watch_clients(self, mut usable: watch::Receiver<bool>) {
        while usable.changed().await.is_ok() {
            let usable = *usable.borrow_and_update();
            self.set(&["token.admin.v1.ClientService"], usable && self.is_serving()).await;
        }
    }

    /// Whether new requests should come here.
    pub(super) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    /// grpc.health.v1.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }
}
