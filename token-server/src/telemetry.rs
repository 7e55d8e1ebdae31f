//! What the server tells about itself: log lines, the audit stream, metrics, traces.
//!
//! Nothing here blocks a thread that answers requests: lines are written by threads of their own. When those cannot keep
//! up, log lines are dropped, and decisions wait for room in front of [`crate::issuer`]: a decision without a record is
//! worse than a slow one.

mod audit;
mod described;
mod json;
mod lines;
mod log;
mod traces;

use std::{io, path::PathBuf, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::{Layer, Registry, filter::filter_fn, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::{
    audit::TARGET,
    config::{AuditTarget, Telemetry},
};
use audit::AuditLines;
use described::{AUDIT_LINES_LOST, LOG_LINES_LOST};
use lines::{AUDIT_BYTES_MAX, LOG_BYTES_MAX, NamedFile, Sink, Stream, Writing};
use traces::Tracing;

pub(crate) use described::AUDIT_WRITABLE;
#[cfg(test)]
pub(crate) use lines::tests::stalled;
pub(crate) use lines::{Condition, Lines};

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
    /// The system has no more descriptors.
    #[error("cannot write to standard output or standard error")]
    Stream(#[source] io::Error),
    /// The system has no more threads.
    #[error("cannot start the thread that writes lines")]
    Thread(#[source] io::Error),
    /// Another subscriber is in place.
    #[error("logging is set up already")]
    SetUpAlready(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps the writing threads alive; dropped, they write what is left, for a bounded time.
#[derive(Debug)]
#[must_use = "dropped, nothing more is written"]
pub struct Writers {
    // In this order: the log says what became of the audit lines.
    _audit: Option<Writing>,
    _log: Writing,
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
    // The recorder first: a counter that is made before it counts for nobody.
    metrics();
    let errors = Stream::of(&io::stderr()).map_err(TelemetryError::Stream)?;
    let (log, log_writing) = start(errors, LOG_BYTES_MAX, LOG_LINES_LOST)?;
    let (audit, audit_writing) = match &settings.audit {
        AuditTarget::Off => (None, None),
        // One writer for both, so that no line ends up within another.
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
        // The subscriber was the first, so this is too.
        let _ = AUDIT.set(audit);
    }
    Ok(Writers { _audit: audit_writing, _log: log_writing, tracing })
}

/// The process's audit lines, once [`init`] has sent them somewhere.
static AUDIT: OnceLock<Lines> = OnceLock::new();

/// Where this process's audit lines are left. `None` where they go nowhere, or where an application has a subscriber of
/// its own.
pub(crate) fn audit_lines() -> Option<Lines> {
    AUDIT.get().cloned()
}

/// Has the audit file opened anew: it may have been renamed.
pub(crate) fn reopen() {
    if let Some(lines) = AUDIT.get() {
        lines.reopen();
    }
}

fn start(sink: impl Sink, bytes_max: usize, lost: &'static str) -> Result<(Lines, Writing), TelemetryError> {
    Lines::start(sink, bytes_max, ::metrics::counter!(lost)).map_err(TelemetryError::Thread)
}

type AnyLayer = Box<dyn Layer<Registry> + Send + Sync>;

/// Of layers with a filter each, and no others: one without, even one that is `None`, would have every span made that
/// nobody wants.
fn subscriber(layers: Vec<AnyLayer>) -> impl Subscriber + Send + Sync {
    tracing_subscriber::registry().with(layers)
}

fn audit_layer(lines: Lines, traced: bool) -> AnyLayer {
    AuditLines::new(lines, traced).with_filter(filter_fn(|event| event.target() == TARGET)).boxed()
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

    fn nothing_written() -> (AnyLayer, AnyLayer, Writing) {
        let (lines, writing) = start(lines::tests::Memory::default(), AUDIT_BYTES_MAX, AUDIT_LINES_LOST).unwrap();
        (log::layer(&Telemetry::default(), lines.clone()), audit_layer(lines, false), writing)
    }

    #[test]
    fn where_traces_are_off_their_spans_are_not_even_made() {
        use crate::trace;
        let (log, audit, _writing) = nothing_written();
        tracing::subscriber::with_default(subscriber(vec![log, audit]), || {
            assert!(tracing::info_span!(target: trace::TARGET, "decision").is_disabled());
            assert!(tracing::enabled!(target: TARGET, tracing::Level::INFO));
        });
    }
}
