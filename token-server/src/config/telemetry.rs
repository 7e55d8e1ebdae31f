//! `[telemetry]`: what the server tells about itself.

use std::path::PathBuf;

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};

/// `[telemetry]`.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// How log lines look; they go to standard error.
    pub log_format: LogFormat,
    /// Which log lines are written, as in `RUST_LOG`: `info`, or `info,token_server=debug`.
    pub log_filter: String,
    /// Where the audit stream goes, one JSON object a line.
    pub audit: AuditTarget,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { log_format: LogFormat::Text, log_filter: "info".to_owned(), audit: AuditTarget::StandardOutput }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Where the audit stream goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditTarget {
    /// Nowhere.
    Off,
    /// Standard output, which nothing else is written to.
    StandardOutput,
    /// Standard error, between the log lines.
    StandardError,
    /// A file that is appended to.
    File(PathBuf),
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
        };
        section.finish();
        telemetry
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

impl Setting for AuditTarget {
    const ALLOWED: &'static str = r#""off", "stdout", "stderr" or the absolute path of a file"#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.as_str() {
            "off" => Ok(Self::Off),
            "stdout" => Ok(Self::StandardOutput),
            "stderr" => Ok(Self::StandardError),
            path if path.starts_with('/') => Ok(Self::File(path.into())),
            _ => Err(format!("{} is not a place for the audit stream", describe(value))),
        }
    }
}
