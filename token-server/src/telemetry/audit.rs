//! Audit events → one JSON object per line.
//!
//! The formatter is hand-written because every issued token passes through it. It writes straight into one
//! buffer per thread.

use std::{
    cell::RefCell,
    fmt::{self, Write as _},
    time::{Duration, SystemTime},
};

use token_interceptor::clock::{Clock as _, SystemClock};
use token_issuer::{json_text, trace};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::lines::Lines;

thread_local! {
    static LINE: RefCell<Line> = const { RefCell::new(Line::new()) };
}

/// A thread's buffer, and the formatted text of the last second that it wrote.
struct Line {
    text: String,
    second: u64,
    written: String,
}

impl Line {
    const fn new() -> Self {
        Self { text: String::new(), second: u64::MAX, written: String::new() }
    }

    /// Starts with the time, in RFC 3339 with milliseconds.
    fn begin(&mut self, now: SystemTime) {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.second != since.as_secs() {
            self.second = since.as_secs();
            self.written.clear();
            let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(self.second);
            // Writing to a String cannot fail. The final Z is cut off.
            let _ = write!(self.written, "{}", humantime::format_rfc3339_seconds(whole));
            self.written.pop();
        }
        self.text.clear();
        let _ = write!(self.text, r#"{{"time":"{}.{:03}Z""#, self.written, since.subsec_millis());
    }
}

/// Writes audit events.
pub(super) struct AuditLines {
    lines: Lines,
    traced: bool,
}

impl AuditLines {
    /// With `traced`, each event names its trace and span.
    pub(super) fn new(lines: Lines, traced: bool) -> Self {
        Self { lines, traced }
    }
}

impl<S: Subscriber> Layer<S> for AuditLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with_borrow_mut(|line| {
            line.begin(SystemClock.now());
            event.record(&mut Members(&mut line.text));
            if self.traced
                && let Some((trace_id, span_id)) = trace::current()
            {
                let _ = write!(line.text, r#","trace_id":"{trace_id}","span_id":"{span_id}""#);
            }
            line.text.push_str("}\n");
            self.lines.push(line.text.as_bytes());
        });
    }
}

/// Writes fields as members of an object.
struct Members<'l>(&'l mut String);

impl Members<'_> {
    fn name(&mut self, field: &Field) {
        self.0.push_str(",\"");
        self.0.push_str(field.name());
        self.0.push_str("\":");
    }

    fn raw(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.0, "{value}");
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.0.push('"');
        let _ = write!(Escaping(self.0), "{value:?}");
        self.0.push('"');
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        json_text::push_string(self.0, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.raw(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.raw(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.raw(field, value);
    }
}

/// Escapes text for a JSON string while it is written.
struct Escaping<'l>(&'l mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        json_text::push_escaped(self.0, text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use metrics::Counter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{
        super::lines::{AUDIT_BYTES_MAX, tests::Memory},
        *,
    };

    #[test]
    fn a_line_is_one_json_object_for_any_content() {
        let sink = Memory::default();
        let (lines, writing) = Lines::start(sink.clone(), AUDIT_BYTES_MAX, Counter::noop()).unwrap();
        let subscriber = tracing_subscriber::registry().with(AuditLines::new(lines, false));
        tracing::subscriber::with_default(subscriber, || {
            let client_id = "a\"b\\c\nd\u{7f}é";
            tracing::info!(target: "audit", client_id, n = 5_u64, yes = true, peer = %"::1", detail = Some("x"));
            tracing::info!(target: "audit", detail = None::<&str>);
        });
        drop(writing);
        let text = String::from_utf8(sink.text.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["client_id"], "a\"b\\c\nd\u{7f}é");
        assert_eq!(lines[0]["n"], 5);
        assert_eq!(lines[0]["yes"], true);
        assert_eq!(lines[0]["peer"], "::1");
        assert_eq!(lines[0]["detail"], "x");
        assert_eq!(lines[1].get("detail"), None);
        let time = lines[1]["time"].as_str().unwrap();
        assert_eq!(time.len(), "2026-11-24T12:00:00.000Z".len());
        let since = SystemClock.now().duration_since(humantime::parse_rfc3339(time).unwrap()).unwrap();
        assert!(since < Duration::from_secs(60), "{time}");
    }
}
