//! Telemetry: log lines, the audit stream, metrics, traces.
//!
//! Telemetry never blocks a thread that answers requests; separate threads write the lines. If those cannot
//! keep up, log lines are dropped, and decisions wait in front of [`token_issuer::issuer`]. A decision
//! without a record is worse than a slow one.

mod audit;
mod described;
mod json;
mod lines;
mod log;
mod traces;

use std::{io, path::PathBuf, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use token_issuer::audit::TARGET;
use tracing::Subscriber;
use tracing_subscriber::{Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{AuditTarget, Telemetry};
use audit::AuditLines;
use described::{AUDIT_LINES_LOST, LOG_LINES_LOST};
use lines::{AUDIT_BYTES_MAX, LOG_BYTES_MAX, NamedFile, Sink, Stream, Writing};
use traces::Tracing;

pub(crate) use described::AUDIT_WRITABLE;
#[cfg(test)]
pub(crate) use lines::tests::stalled;
pub(crate) use lines::{Condition, Lines};

/// Upper bounds of latencies, in seconds: from a cache hit to a store that hangs.
const LATENCY_BUCKETS: [f64; 12] = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0];

/// The reason why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The audit file cannot be opened.
    #[error("cannot append to the audit file {}", path.display())]
    AuditFile {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The collector of spans cannot be addressed.
    #[error("spans cannot be sent")]
    Traces(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system has no file descriptors left.
    #[error("cannot write to standard output or standard error")]
    Stream(#[source] io::Error),
    /// The system has no threads left.
    #[error("cannot start the thread that writes lines")]
    Thread(#[source] io::Error),
    /// Another subscriber is installed.
    #[error("logging is set up already")]
    SetUpAlready(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the writer threads alive. On drop they write the remaining lines, for a limited time.
#[derive(Debug)]
#[must_use = "if dropped, nothing more is written"]
pub struct Writers {
    // In this order, so that the log can report lost audit lines.
    _audit: Option<Writing>,
    _log: Writing,
    tracing: Option<Tracing>,
}

impl Writers {
    /// Sends the remaining spans within their deadline, and writes the remaining lines.
    pub async fn close(self) {
        if let Some(tracing) = self.tracing {
            tracing.close().await;
        }
    }
}

/// Sends log lines, the audit stream and spans to the configured destinations, until the process ends. Spans
/// are sent on the current runtime.
///
/// # Errors
///
/// When the audit file cannot be opened, the collector's URL or certificate authority cannot be used, or the
/// process already has a subscriber.
pub fn init(settings: &Telemetry) -> Result<Writers, TelemetryError> {
    // The recorder first: a counter that is created earlier is not recorded.
    metrics();
    let errors = Stream::of(&io::stderr()).map_err(TelemetryError::Stream)?;
    let (log, log_writing) = start(errors, LOG_BYTES_MAX, LOG_LINES_LOST)?;
    let (audit, audit_writing) = match &settings.audit {
        AuditTarget::Off => (None, None),
        // One writer for both, so that lines do not mix.
        AuditTarget::StandardError => (Some(log.sharing(AUDIT_BYTES_MAX, ::metrics::counter!(AUDIT_LINES_LOST))), None),
        AuditTarget::StandardOutput => {
            let output = Stream::of(&io::stdout()).map_err(TelemetryError::Stream)?;
            start(output, AUDIT_BYTES_MAX, AUDIT_LINES_LOST).map(|(lines, writing)| (Some(lines), Some(writing)))?
        }
        AuditTarget::File(path) => {
            let file = NamedFile::open(path);
            let file = file.map_err(|source| TelemetryError::AuditFile { path: path.clone(), source })?;
            start(file, AUDIT_BYTES_MAX, AUDIT_LINES_LOST).map(|(lines, writing)| (Some(lines), Some(writing)))?
        }
    };
    let tracing = settings.traces.as_ref().map(Tracing::start).transpose().map_err(TelemetryError::Traces)?;
    let layers = [
        Some(log::layer(settings, log)),
        audit.clone().map(|lines| audit_layer(lines, tracing.is_some())),
        tracing.as_ref().map(|tracing| tracing.layer().boxed()),
    ];
    subscriber(layers.into_iter().flatten().collect()).try_init()?;
    if let Some(audit) = audit {
        // Cannot fail: the subscriber was the first, so this is too.
        let _ = AUDIT.set(audit);
    }
    Ok(Writers { _audit: audit_writing, _log: log_writing, tracing })
}

/// The process's audit lines, set when [`init`] has chosen their destination.
static AUDIT: OnceLock<Lines> = OnceLock::new();

/// Returns the process's audit lines. `None` if the audit stream is off, or if an application has its own
/// subscriber.
pub(crate) fn audit_lines() -> Option<Lines> {
    AUDIT.get().cloned()
}

/// Reopens the audit file, which may have been renamed.
pub(crate) fn reopen() {
    if let Some(lines) = AUDIT.get() {
        lines.reopen();
    }
}

fn start(sink: impl Sink, bytes_max: usize, lost: &'static str) -> Result<(Lines, Writing), TelemetryError> {
    Lines::start(sink, bytes_max, ::metrics::counter!(lost)).map_err(TelemetryError::Thread)
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Combines layers that each have a filter. A layer without a filter, even `None`, would enable every span
/// for no reader.
fn subscriber(layers: Vec<AnyLayer>) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(layers)
}

fn audit_layer(lines: Lines, traced: bool) -> AnyLayer {
    AuditLines::new(lines, traced).with_filter(filter_fn(|event| event.target() == TARGET)).boxed()
}

/// Returns the process's metrics. The first call installs the recorder.
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
            // An application that embeds the server may have its own recorder, which then has the metrics.
            let _ = metrics::set_global_recorder(recorder);
            described::describe();
            handle
        })
        .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing_written() -> (AnyLayer, AnyLayer, Writing) {
        let (lines, writing) = start(lines::tests::Memory::default(), AUDIT_BYTES_MAX, AUDIT_LINES_LOST).unwrap();
        (log::layer(&Telemetry::default(), lines.clone()), audit_layer(lines, false), writing)
    }

    #[test]
    fn where_traces_are_off_their_spans_are_not_even_made() {
        use token_issuer::trace;
        let (log, audit, _writing) = nothing_written();
        tracing::subscriber::with_default(subscriber(vec![log, audit]), || {
            assert!(tracing::info_span!(target: trace::TARGET, "decision").is_disabled());
            assert!(tracing::enabled!(target: TARGET, tracing::Level::INFO));
        });
    }
}
