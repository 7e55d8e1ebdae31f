//! Log lines: as text or JSON, to standard error.

use std::io;

use token_issuer::{audit::TARGET, trace};
use tracing_subscriber::{EnvFilter, Layer, fmt::MakeWriter};

use super::{AnyLayer, json::InTrace, lines::Lines};
use crate::config::{LogFormat, Telemetry};

/// The layer that writes log lines to `lines`.
pub(super) fn layer(settings: &Telemetry, lines: Lines) -> AnyLayer {
    // The audit stream and spans have their own destinations.
    let filter = EnvFilter::new(format!("{},{TARGET}=off,{}=off", settings.log_filter, trace::TARGET));
    let layer = tracing_subscriber::fmt::layer().with_writer(LogLines(lines));
    match settings.log_format {
        LogFormat::Text => layer.with_ansi(false).with_filter(filter).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).map_event_format(InTrace).with_filter(filter).boxed(),
    }
}

/// Takes the formatter's output, one whole line per write.
struct LogLines(Lines);

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LogLine<'a>;

    fn make_writer(&'a self) -> LogLine<'a> {
        LogLine(&self.0)
    }
}

struct LogLine<'a>(&'a Lines);

impl io::Write for LogLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
