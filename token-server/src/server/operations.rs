//! `/metrics`, `/healthz` and `/readyz`: for those who operate the server.

use axum::{Router, extract::State, routing};
use http::{StatusCode, header::CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;

use super::health::Health;

/// The text format of Prometheus.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whether the process lives, and whether requests should come to it.
pub(super) fn probes(health: Health) -> Router {
    Router::new()
        .route("/healthz", routing::get(async || "ok\n"))
        .route("/readyz", routing::get(ready))
        .with_state(health)
}

/// The metrics: shown to operators alone, as they tell who is busy with what.
pub(super) fn metrics(metrics: PrometheusHandle) -> Router {
    let render = async |State(metrics): State<PrometheusHandle>| ([(CONTENT_TYPE, PROMETHEUS)], metrics.render());
    Router::new().route("/metrics", routing::get(render)).with_state(metrics)
}

async fn ready(State(health): State<Health>) -> (StatusCode, &'static str) {
    if health.is_serving() { (StatusCode::OK, "ready\n") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready\n") }
}
