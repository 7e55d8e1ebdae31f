//! Audit events → one JSON object a line.
//!
//! A writer of its own, because every token that is issued goes through it: it formats straight into one
//! buffer per thread.

use std::{cell::RefCell, fmt, fmt::Write as _, io::Write as _, sync::Mutex};

use token_interceptor::clock::{Clock as _, SystemClock};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::layer::{Context, Layer};

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes audit events.
pub(super) struct AuditLines {
    writer: Mutex<NonBlocking>,
}

impl AuditLines {
    pub(super) fn new(writer: NonBlocking) -> Self {
        Self { writer: Mutex::new(writer) }
    }

    fn write(&self, line: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if writer.write_all(line.as_bytes()).is_err() {
            metrics::counter!("token_server_audit_lines_lost_total").increment(1);
        }
    }
}

impl<S: Subscriber> Layer<S> for AuditLines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            // Writing to a String cannot fail.
            let _ = write!(line, r#"{{"time":"{}""#, humantime::format_rfc3339_millis(SystemClock.now()));
            event.record(&mut Members(line));
            line.push_str("}\n");
            self.write(line);
        });
    }
}

/// Writes fields as members of an object.
struct Members<'l>(&'l mut String);

impl Members<'_> {
    fn raw(&mut self, field: &Field, value: impl fmt::Display) {
        let _ = write!(self.0, r#","{}":{value}"#, field.name());
    }

    fn text(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        let _ = write!(self.0, r#","{}":""#, field.name());
        let _ = Escaping(self.0).write_fmt(value);
        self.0.push('"');
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, format_args!("{value}"));
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

/// Text inside a JSON string. RFC 8259 section 7.
struct Escaping<'l>(&'l mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            match character {
                '"' | '\\' => {
                    self.0.push('\\');
                    self.0.push(character);
                }
                '\u{0}'..='\u{1f}' | '\u{7f}' => write!(self.0, "\\u{:04x}", u32::from(character))?,
                _ => self.0.push(character),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_appender::non_blocking::NonBlockingBuilder;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let sink = Sink::default();
        let (writer, guard) = NonBlockingBuilder::default().lossy(false).finish(sink.clone());
        let subscriber = tracing_subscriber::registry().with(AuditLines::new(writer));
        tracing::subscriber::with_default(subscriber, || {
            let client_id = "a\"b\\c\nd\u{7f}é";
            tracing::info!(target: "audit", client_id, n = 5_u64, yes = true, peer = %"::1", detail = Some("x"));
            tracing::info!(target: "audit", detail = None::<&str>);
        });
        drop(guard);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["client_id"], "a\"b\\c\nd\u{7f}é");
        assert_eq!(lines[0]["n"], 5);
        assert_eq!(lines[0]["yes"], true);
        assert_eq!(lines[0]["peer"], "::1");
        assert_eq!(lines[0]["detail"], "x");
        assert_eq!(lines[1].get("detail"), None);
    }
}
