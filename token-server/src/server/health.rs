//! Health of each service, over gRPC (grpc.health.v1) and for probes over HTTP.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Services whose health is reported one by one; the empty name stands for the server.
const SERVICES: [&str; 5] =
    ["", "token.v1.TokenService", "token.v1.TrustService", "token.admin.v1.ClientService", "token.admin.v1.KeyService"];

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
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
        self.serving.store(serving, Ordering::Release);
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
