//! What the server tells about itself: log lines, the audit stream, metrics, traces.
//!
//! Nothing here delays a request: lines are written by threads of their own. When those cannot keep up, log
//! lines are dropped, and audit lines are waited for: a decision without a record is worse than a slow one.

mod audit;
mod traces;

use std::{fs::OpenOptions, io, path::PathBuf, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, filter::filter_fn, layer::SubscriberExt as _, registry::LookupSpan, util::SubscriberInitExt as _,
};

use crate::{
    audit::TARGET,
    config::{AuditTarget, LogFormat, Telemetry},
    trace,
};
use audit::AuditLines;
use traces::Tracing;

/// Upper bounds of latencies, in seconds: from a cache hit to a store that is stuck.
const LATENCY_BUCKETS: [f64; 12] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// Why the server cannot tell about itself.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The audit file cannot be opened.
    #[error("cannot append to the audit file {}", path.display())]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The collector of spans cannot be addressed.
    #[error("spans cannot be sent")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    SetUpAlready(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the writing threads alive; dropped, they write what is left.
#[derive(Debug)]
#[must_use = "dropped, nothing more is written"]
pub struct Writers {
    _guards: Vec<WorkerGuard>,
    tracing: Option<Tracing>,
}

impl Writers {
    /// Sends the spans that are left, within their deadline, and writes the lines that are left.
    pub async fn close(self) {
        if let Some(tracing) = self.tracing {
            tracing.close().await;
        }
    }
}

/// Sends log lines, the audit stream and spans where the configuration says, for the rest of the process's life.
/// Spans travel on the runtime that this is called on.
///
/// # Errors
///
/// When the audit file cannot be opened, the collector's URL or certificate authority cannot be used, or the process
/// has a subscriber already.
pub fn init(settings: &Telemetry) -> Result<Writers, TelemetryError> {
    let mut guards = Vec::new();
    let mut keep = |(writer, guard): (NonBlocking, WorkerGuard)| {
        guards.push(guard);
        writer
    };
    let log = log(settings, keep(lines(io::stderr(), true)));
    let audit = match &settings.audit {
        AuditTarget::Off => None,
        AuditTarget::StandardOutput => Some(keep(lines(io::stdout(), false))),
        AuditTarget::StandardError => Some(keep(lines(io::stderr(), false))),
        AuditTarget::File(path) => Some(keep(lines(open(path)?, false))),
    };
    let audit = audit.map(|writer| AuditLines::new(writer).with_filter(filter_fn(|event| event.target() == TARGET)));
    let tracing = settings.traces.as_ref().map(Tracing::start).transpose().map_err(TelemetryError::Traces)?;
    let spans = tracing.as_ref().map(Tracing::layer);
    tracing_subscriber::registry().with(log).with(audit).with(spans).try_init()?;
    Ok(Writers { _guards: guards, tracing })
}

fn lines(writer: impl io::Write + Send + 'static, lossy: bool) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(lossy).finish(writer)
}

fn log<S>(settings: &Telemetry, writer: NonBlocking) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // The audit stream and spans have their own places, and this is not it.
    let filter = EnvFilter::new(format!("{},{TARGET}=off,{}=off", settings.log_filter, trace::TARGET));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match settings.log_format {
        LogFormat::Text => layer.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
    }
}

fn open(path: &PathBuf) -> Result<std::fs::File, TelemetryError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| TelemetryError::AuditFile { path: path.clone(), source })
}

/// The process's metrics. The first call puts the recorder in place.
pub(crate) fn metrics() -> PrometheusHandle {
    static METRICS: OnceLock<PrometheusHandle> = OnceLock::new();
    METRICS
        .get_or_init(|| {
            let builder = PrometheusBuilder::new();
            let builder = builder
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &LATENCY_BUCKETS)
                .unwrap_or_else(|_| PrometheusBuilder::new());
            let recorder = builder.build_recorder();
            let handle = recorder.handle();
            // An application that embeds the server may have a recorder of its own; then it has the metrics.
            let _ = metrics::set_global_recorder(recorder);
            describe();
            handle
        })
        .clone()
}

fn describe() {
    use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge};
    describe_gauge!("token_server_build_info", "1, with the version as its label.");
    describe_gauge!("token_server_connections", Unit::Count, "Connections that are open.");
    describe_counter!("token_server_tls_handshakes_failed_total", "TLS handshakes that failed or took too long.");
    describe_counter!("token_server_token_requests_total", "Token requests by outcome and reason.");
    describe_histogram!(
        "token_server_request_duration_seconds",
        Unit::Seconds,
        "From a request's head to its answer's."
    );
    describe_counter!("token_server_audit_lines_lost_total", "Audit lines that could not be written.");
    describe_counter!("token_server_spans_lost_total", "Spans that the collector did not take.");
    describe_gauge!("token_server_clients_file_usable", "1 while the file that declares the clients can be used.");
    describe_counter!(
        "token_server_clients_file_reloads_total",
        "Looks at that file that found something, by outcome."
    );
    describe_gauge!("token_server_store_reachable", "1 while the store answers, 0 while it does not.");
    gauge!("token_server_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    gauge!("token_server_connections").set(0.0);
    // Counted from 0, so that the first one is an increase.
    counter!("token_server_audit_lines_lost_total").absolute(0);
    counter!("token_server_tls_handshakes_failed_total").absolute(0);
    counter!("token_server_spans_lost_total").absolute(0);
    // Where there is no such file, nothing is wrong with it.
    gauge!("token_server_clients_file_usable").set(1.0);
    for outcome in ["changed", "unusable"] {
        counter!("token_server_clients_file_reloads_total", "outcome" => outcome).absolute(0);
    }
}
