//! `[telemetry]`: logs, the audit stream and traces.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};

/// The default sampling ratio: one request in a hundred shows where time is spent.
const SAMPLING_RATIO: f64 = 0.01;
const FLUSH_DEADLINE: Duration = Duration::from_secs(5);
const FLUSH_DEADLINE_MAX: Duration = Duration::from_secs(60);

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The format of log lines. They go to standard error.
    pub log_format: LogFormat,
    /// The filter of log lines, as in `RUST_LOG`: `info`, or `info,token_server=debug`.
    pub log_filter: String,
    /// The destination of the audit stream, one JSON object per line.
    pub audit: AuditTarget,
    /// The policy for decisions while audit lines cannot be written.
    pub audit_failure: AuditFailure,
    /// The destination of spans, by OTLP. `None` disables tracing.
    pub traces: Option<Traces>,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_filter: "info".to_owned(),
            audit: AuditTarget::StandardOutput,
            audit_failure: AuditFailure::Continue,
            traces: None,
        }
    }
}

/// The format of log lines.
///
/// Exhaustive: the server must apply a new choice before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// The destination of the audit stream.
///
/// Exhaustive: the server must apply a new choice before it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Nowhere.
    Off,
    /// Standard output, to which nothing else is written.
    StandardOutput,
    /// Standard error, between the log lines.
    StandardError,
    /// A file, in append mode.
    File(PathBuf),
}

/// The policy for decisions while audit lines cannot be written.
///
/// Exhaustive: the server must apply a new choice before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditFailure {
    /// Decisions continue. Lines beyond the memory limit are dropped and counted.
    Continue,
    /// Decisions are refused.
    Refuse,
}

/// `[telemetry.traces]`: spans, by OTLP over gRPC.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The collector: `http://` or `https://`, host and port.
    pub endpoint: Url,
    /// CA certificates in PEM that verify the collector, in place of the machine's own roots.
    pub certificate_authority: Option<Vec<u8>>,
    /// The ratio of traced requests among those whose caller does not trace.
    pub sampling_ratio: f64,
    /// The attributes of this process, in addition to its name and version.
    pub resource_attributes: Vec<ResourceAttribute>,
    /// The time limit for sending the remaining spans when the server stops.
    pub flush_deadline: Duration,
}

/// An attribute of the process that sends the spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceAttribute {
    /// Its key, as in `service.namespace`.
    pub key: String,
    /// Its value.
    pub value: String,
}

impl Telemetry {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let default = Self::default();
        let log_filter = section.or("log_filter", default.log_filter);
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log_filter) {
            section.reject("log_filter", error.to_string(), "directives as in RUST_LOG: \"info,token_server=debug\"");
        }
        let telemetry = Self {
            log_format: section.or("log_format", default.log_format),
            log_filter,
            audit: section.or("audit", default.audit),
            audit_failure: section.or("audit_failure", default.audit_failure),
            traces: Traces::read(section.section("traces")),
        };
        section.finish();
        telemetry
    }
}

impl Traces {
    fn read(mut section: Section<'_>) -> Option<Self> {
        let endpoint: Option<CollectorUrl> = section.optional("endpoint");
        let file = section.file("certificate_authority");
        let read = |path: PathBuf| {
            let read = std::fs::read(&path);
            read.map_err(|error| section.reject("certificate_authority", error.to_string(), "a PEM file")).ok()
        };
        let certificate_authority = file.and_then(read);
        let sampling_ratio = section.within("sampling_ratio", SAMPLING_RATIO, 0.0..=1.0);
        let resource_attributes = section.or("resource_attributes", Vec::new());
        let flush_deadline = section.within("flush_deadline", FLUSH_DEADLINE, Duration::ZERO..=FLUSH_DEADLINE_MAX);
        section.finish();
        let CollectorUrl(endpoint) = endpoint?;
        Some(Self { endpoint, certificate_authority, sampling_ratio, resource_attributes, flush_deadline })
    }
}

/// The URL of a collector.
struct CollectorUrl(Url);

impl Setting for CollectorUrl {
    const ALLOWED: &'static str = r#"a URL in quotes, such as "http://127.0.0.1:4317""#;

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let url = Url::parse(&text).map_err(|error| format!("{text:?} is not a URL: {error}"))?;
        match url.scheme() {
            "http" | "https" if url.username().is_empty() && url.password().is_none() => Ok(Self(url)),
            "http" | "https" => Err("credentials do not belong in a URL".to_owned()),
            scheme => Err(format!("{scheme:?} is neither http nor https")),
        }
    }
}

impl Setting for ResourceAttribute {
    const ALLOWED: &'static str = r#"a list of "key=value", such as ["deployment.environment.name=production"]"#;

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self { key: key.trim().to_owned(), value: value.trim().to_owned() })
            }
            Some(_) | None => Err(format!("{text:?} is not of the form key=value")),
        }
    }
}

impl Setting for LogFormat {
    const ALLOWED: &'static str = r#""text" or "json""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{} is not a log format", describe(value))),
        }
    }
}

impl Setting for AuditFailure {
    const ALLOWED: &'static str = r#""continue" or "refuse""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "continue" => Ok(Self::Continue),
            "refuse" => Ok(Self::Refuse),
            _ => Err(format!("{} is neither", describe(value))),
        }
    }
}

impl Setting for AuditTarget {
    const ALLOWED: &'static str = r#""off", "stdout", "stderr" or the absolute path of a file"#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::StandardOutput),
            "stderr" => Ok(Self::StandardError),
            path if path.starts_with('/') => Ok(Self::File(path.into())),
            _ => Err(format!("{} is not a destination for the audit stream", describe(value))),
        }
    }
}
