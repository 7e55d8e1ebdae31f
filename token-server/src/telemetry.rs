//! What the server tells about itself: log lines, the audit stream, metrics, traces.
//!
//! Nothing here delays a request: lines are written by threads of their own. When those cannot keep up, log
//! lines are dropped, and audit lines are waited for: a decision without a record is worse than a slow one.

mod audit;
mod described;
mod json;
mod lines;
mod traces;

use std::{fs::OpenOptions, io, path::PathBuf, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    audit::TARGET,
    config::{AuditTarget, LogFormat, Telemetry},
    trace,
};
use audit::AuditLines;
use described::AUDIT_LINES_LOST;
use json::InTrace;
use lines::{Lines, Writing};
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
    /// The system has no more threads.
    #[error("cannot start the thread that writes the audit stream")]
    Thread(#[source] io::Error),
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    SetUpAlready(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the writing threads alive; dropped, they write what is left.
#[derive(Debug)]
#[must_use = "dropped, nothing more is written"]
pub struct Writers {
    _log: WorkerGuard,
    _audit: Option<Writing>,
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
    let (writer, log_guard) = NonBlockingBuilder::default().lossy(true).finish(io::stderr());
    let (lines, writing) = match &settings.audit {
        AuditTarget::Off => None,
        AuditTarget::StandardOutput => Some(audit_to(io::stdout())?),
        AuditTarget::StandardError => Some(audit_to(io::stderr())?),
        AuditTarget::File(path) => Some(audit_to(open(path)?)?),
    }
    .unzip();
    let tracing = settings.traces.as_ref().map(Tracing::start).transpose().map_err(TelemetryError::Traces)?;
    let layers = [
        Some(log(settings, writer)),
        lines.map(|lines| audit(lines, tracing.is_some())),
        tracing.as_ref().map(|tracing| tracing.layer().boxed()),
    ];
    subscriber(layers.into_iter().flatten().collect()).try_init()?;
    Ok(Writers { _log: log_guard, _audit: writing, tracing })
}

fn audit_to(sink: impl io::Write + Send + 'static) -> Result<(Lines, Writing), TelemetryError> {
    // The recorder first: a counter that is made before it counts for nobody.
    metrics();
    Lines::start(sink, ::metrics::counter!(AUDIT_LINES_LOST)).map_err(TelemetryError::Thread)
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Of layers with a filter each, and no others: one without, even one that is `None`, would have every span made that
/// nobody wants.
fn subscriber(layers: Vec<AnyLayer>) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(layers)
}

fn audit(lines: Lines, traced: bool) -> AnyLayer {
    AuditLines::new(lines, traced).with_filter(filter_fn(|event| event.target() == TARGET)).boxed()
}

fn log(settings: &Telemetry, writer: NonBlocking) -> AnyLayer {
    // The audit stream and spans have their own places, and this is not it.
    let filter = EnvFilter::new(format!("{},{TARGET}=off,{}=off", settings.log_filter, trace::TARGET));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match settings.log_format {
        LogFormat::Text => layer.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).map_event_format(InTrace).with_filter(filter).boxed(),
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
            described::describe();
            handle
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_written() -> (AnyLayer, AnyLayer, (WorkerGuard, Writing)) {
        let (writer, guard) = NonBlockingBuilder::default().finish(io::sink());
        let (lines, writing) = Lines::start(io::sink(), ::metrics::Counter::noop()).unwrap();
        (log(&Telemetry::default(), writer), audit(lines, false), (guard, writing))
    }

    #[test]
    fn where_traces_are_off_their_spans_are_not_even_made() {
        let (log, audit, _writers) = nothing_written();
        tracing::subscriber::with_default(subscriber(vec![log, audit]), || {
            assert!(tracing::info_span!(target: trace::TARGET, "decision").is_disabled());
            assert!(tracing::enabled!(target: TARGET, tracing::Level::INFO));
        });
    }
}
