//! `/metrics`, `/healthz` and `/readyz`, for operators.

use axum::{Router, extract::State, routing};
use http::{StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;

use tokio::{net::TcpListener, sync::watch, task::JoinSet};

use super::{
    ServeError,
    health::Health,
    middleware::{concurrency_limit::ConcurrencyLimitLayer, recordable::RecordableLayer},
    port::Port,
    routes,
    transport::phase::Phase,
    worker::Worker,
};
use crate::config::{AuditFailure, Limits};

/// The connections that the operators' port accepts: enough for a few scrapers and a node's probes.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// The maximum of them for one peer.
const CONNECTIONS_PER_PEER_MAX: usize = 32;

/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The liveness and readiness probes.
pub(super) fn probes(health: Health) -> Router {
    Router::new()
        .route("/healthz", routing::get(async || "ok\n"))
        .route("/readyz", routing::get(ready))
        .with_state(health)
}

/// The metrics, for operators only: they show each client's activity.
pub(super) fn metrics(metrics: PrometheusHandle) -> Router {
    let render = async |State(metrics): State<PrometheusHandle>| ([(CONTENT_TYPE, PROMETHEUS)], metrics.render());
    Router::new().route("/metrics", routing::get(render)).with_state(metrics)
}

/// Serves a port for operators, until the returned value reports its end or is dropped. The port has its own
/// thread, limits and connection count, so neither port can starve the other.
pub(super) fn serve(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    background: &mut JoinSet<()>,
) -> Result<(Worker, watch::Sender<Phase>), ServeError> {
    let limits =
        Limits { connections: CONNECTIONS_MAX, connections_per_peer: CONNECTIONS_PER_PEER_MAX, ..limits.clone() };
    let phase = watch::Sender::new(Phase::Serving);
    let services =
        routes::only(router, &ConcurrencyLimitLayer::new(&limits), &RecordableLayer::new(None, AuditFailure::Continue));
    let port = Port::new(services, None, &limits, phase.subscribe());
    let mut workers = super::serve(listener, &port, 1, background)?;
    let worker = workers.pop().ok_or_else(|| ServeError::internal("the port for operators has no worker"))?;
    Ok((worker, phase))
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_serving() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}
