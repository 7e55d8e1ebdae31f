//! Health of each service, over gRPC (grpc.health.v1) and for probes over HTTP.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use token_issuer::store::ChangeLog;
use tokio::sync::watch;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

use crate::telemetry::{AUDIT_WRITABLE, Condition, Lines};

/// Services that answer from memory; the empty name stands for the server.
const FROM_MEMORY: [&str; 3] = [SERVER, "m2m.token.v1.TokenService", TRUST];
/// The server as a whole.
const SERVER: &str = "";
/// The service that decides nothing.
const TRUST: &str = "m2m.token.v1.TrustService";
/// Services that need the store.
const FROM_STORE: [&str; 3] = ["m2m.admin.v1.AuditService", CLIENTS, "m2m.admin.v1.KeyService"];
/// The service that also needs the file of clients, if configured.
const CLIENTS: &str = "m2m.admin.v1.ClientService";
/// The interval between probes of the store ...
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
/// ... and the time within which it must answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval between checks of the audit stream.
const AUDIT_INTERVAL: Duration = Duration::from_secs(1);

/// The health that the server reports.
#[derive(Clone, Debug)]
pub(super) struct Health {
    reporter: HealthReporter,
    conditions: Arc<Conditions>,
}

/// The conditions that services depend on. Each service checks all of its own: one recovery must not hide
/// another failure.
#[derive(Debug)]
struct Conditions {
    serving: AtomicBool,
    store: AtomicBool,
    clients_file: AtomicBool,
    /// True while decisions can be audited.
    audit: AtomicBool,
}

impl Conditions {
    fn allow(&self, service: &str) -> bool {
        let store = !FROM_STORE.contains(&service) || self.store.load(Ordering::Acquire);
        let clients = service != CLIENTS || self.clients_file.load(Ordering::Acquire);
        let audit = service == TRUST || self.audit.load(Ordering::Acquire);
        self.serving.load(Ordering::Acquire) && store && clients && audit
    }
}

impl Health {
    /// Creates a health that reports every service as not serving.
    pub(super) fn new() -> Self {
        let conditions = Conditions {
            serving: AtomicBool::new(false),
            store: AtomicBool::new(true),
            clients_file: AtomicBool::new(true),
            audit: AtomicBool::new(true),
        };
        Self { reporter: HealthReporter::new(), conditions: Arc::new(conditions) }
    }

    /// Reports every service as serving, or every one as not serving.
    pub(super) async fn set_serving(&self, serving: bool) {
        self.conditions.serving.store(serving, Ordering::Release);
        self.tell_all().await;
    }

    async fn tell_all(&self) {
        metrics::gauge!("token_server_ready").set(f64::from(self.is_serving()));
        self.tell(&FROM_MEMORY).await;
        self.tell(&FROM_STORE).await;
    }

    async fn tell(&self, services: &[&str]) {
        for service in services {
            let allowed = self.conditions.allow(service);
            let status = if allowed { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Watches the store, until dropped. Without it known clients still get tokens: the server as a whole
    /// serves, the admin services do not.
    pub(super) async fn watch_store(self, store: Arc<dyn ChangeLog>) {
        let gauge = metrics::gauge!("token_server_store_reachable");
        let mut reachable = true;
        gauge.set(1.0);
        loop {
            tokio::time::sleep(PROBE_INTERVAL).await;
            let answer = tokio::time::timeout(PROBE_TIMEOUT, store.last_change()).await;
            let now = matches!(answer, Ok(Ok(_)));
            if now != std::mem::replace(&mut reachable, now) {
                tracing::warn!(reachable, "store reachability changed");
                gauge.set(f64::from(reachable));
                self.conditions.store.store(reachable, Ordering::Release);
                self.tell(&FROM_STORE).await;
            }
        }
    }

    /// Watches the file that declares the clients, until dropped. While it is invalid, the last valid clients
    /// get tokens, and the admin API may differ from the file.
    pub(super) async fn watch_clients(self, mut usable: watch::Receiver<bool>) {
        while usable.changed().await.is_ok() {
            self.conditions.clients_file.store(*usable.borrow_and_update(), Ordering::Release);
            self.tell(&[CLIENTS]).await;
        }
    }

    /// Watches the audit stream, until dropped. While it cannot be written, new requests should go elsewhere:
    /// this server rejects decisions or makes them without an audit record.
    pub(super) async fn watch_audit(self, lines: Lines) {
        loop {
            tokio::time::sleep(AUDIT_INTERVAL).await;
            let writable = lines.condition(tokio::time::Instant::now().into_std()) != Condition::Unwritable;
            if self.conditions.audit.swap(writable, Ordering::AcqRel) != writable {
                metrics::gauge!(AUDIT_WRITABLE).set(f64::from(writable));
                if writable {
                    tracing::info!("the audit stream can be written again; reporting ready");
                } else {
                    tracing::error!("the audit stream cannot be written; reporting not ready");
                }
                self.tell_all().await;
            }
        }
    }

    /// Returns true if new requests should come here.
    pub(super) fn is_serving(&self) -> bool {
        self.conditions.allow(SERVER)
    }

    /// Returns the `grpc.health.v1` service.
    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::stalled;
    use token_issuer::store::{LogPage, StoreError};

    async fn told(health: &Health, service: &str) -> i32 {
        use tonic_health::pb::{HealthCheckRequest, health_server::Health as _};
        let request = tonic::Request::new(HealthCheckRequest { service: service.to_owned() });
        HealthService::from_health_reporter(health.reporter.clone()).check(request).await.unwrap().into_inner().status
    }

    /// Each of the two recovers while the other is still failing.
    #[tokio::test]
    async fn a_service_is_well_when_everything_that_it_needs_is() {
        let health = Health::new();
        health.set_serving(true).await;
        let conditions = &health.conditions;
        for (store, file, clients, keys) in
            [(true, true, 1, 1), (false, true, 2, 2), (false, false, 2, 2), (true, false, 2, 1), (true, true, 1, 1)]
        {
            conditions.store.store(store, Ordering::Release);
            conditions.clients_file.store(file, Ordering::Release);
            health.tell(&FROM_STORE).await;
            assert_eq!(told(&health, CLIENTS).await, clients, "{store} {file}");
            assert_eq!(told(&health, "m2m.admin.v1.KeyService").await, keys, "{store} {file}");
            assert_eq!(told(&health, "m2m.token.v1.TokenService").await, 1);
        }
        health.set_serving(false).await;
        assert_eq!(told(&health, CLIENTS).await, 2);
    }

    /// A store that answers, fails, or never answers.
    #[derive(Default)]
    struct Moody(std::sync::Mutex<Mood>);

    #[derive(Clone, Copy, Default)]
    enum Mood {
        #[default]
        Well,
        Refusing,
        Silent,
    }

    #[async_trait::async_trait]
    impl ChangeLog for Moody {
        async fn last_change(&self) -> Result<u64, StoreError> {
            let mood = *self.0.lock().unwrap();
            match mood {
                Mood::Well => Ok(0),
                Mood::Refusing => Err(StoreError::unavailable("gone")),
                Mood::Silent => std::future::pending().await,
            }
        }

        async fn changes_from(&self, _: u64, _: u32) -> Result<LogPage, StoreError> {
            Ok(LogPage { epoch: String::new(), changes: Vec::new() })
        }

        async fn purge_changes(&self, _: Duration) -> Result<u64, StoreError> {
            Ok(0)
        }

        async fn changed(&self) {}
    }

    #[tokio::test(start_paused = true)]
    async fn an_audit_stream_that_takes_nothing_takes_readiness_with_it() {
        let (health, stalled) = (Health::new(), stalled());
        health.set_serving(true).await;
        let watching = tokio::spawn(health.clone().watch_audit(stalled.lines()));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(health.is_serving(), "nothing is to be written");
        stalled.fill();
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!health.is_serving());
        assert_eq!((told(&health, SERVER).await, told(&health, TRUST).await), (2, 1));
        stalled.take_all();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(health.is_serving());
        assert_eq!(told(&health, CLIENTS).await, 1);
        watching.abort();
    }

    /// Known clients still get tokens: operators must not restart the server for it, or send requests
    /// elsewhere.
    #[tokio::test(start_paused = true)]
    async fn a_lost_store_takes_the_services_that_need_it_and_neither_life_nor_readiness() {
        let (health, store) = (Health::new(), Arc::new(Moody::default()));
        health.set_serving(true).await;
        let watching = tokio::spawn(health.clone().watch_store(Arc::clone(&store) as _));
        for (mood, admin) in [(Mood::Well, 1), (Mood::Refusing, 2), (Mood::Well, 1), (Mood::Silent, 2), (Mood::Well, 1)]
        {
            *store.0.lock().unwrap() = mood;
            tokio::time::sleep(2 * (PROBE_INTERVAL + PROBE_TIMEOUT)).await;
            for service in FROM_STORE {
                assert_eq!(told(&health, service).await, admin, "{service}");
            }
            for service in FROM_MEMORY {
                assert_eq!(told(&health, service).await, 1, "{service}");
            }
            assert!(health.is_serving());
        }
        watching.abort();
    }
}
