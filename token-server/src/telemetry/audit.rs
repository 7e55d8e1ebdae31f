//! Audit events → one JSON object a line.
//!
//! A writer of its own, because every token that is issued goes through it: it formats straight into one
//! buffer per thread.

use std::{cell::RefCell, fmt, fmt::Write as _};

use token_interceptor::clock::{Clock as _, SystemClock};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

use super::lines::Lines;

thread_local! {
    static LINE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Writes audit events.
pub(super) struct AuditLines(Lines);

impl AuditLines {
    pub(super) fn new(lines: Lines) -> Self {
        Self(lines)
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
            self.0.push(line);
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
        self.0.push('"');
        escape(self.0, value);
        self.0.push('"');
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

/// Text inside a JSON string, as it comes.
struct Escaping<'l>(&'l mut String);

impl fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(self.0, text);
        Ok(())
    }
}

/// RFC 8259 section 7. What needs no escape, nearly always everything, is copied in one piece.
fn escape(line: &mut String, text: &str) {
    let mut rest = text;
    while let Some((before, special, after)) = split_at_special(rest) {
        line.push_str(before);
        let _ = match special {
            '"' | '\\' => write!(line, "\\{special}"),
            _ => write!(line, "\\u{:04x}", u32::from(special)),
        };
        rest = after;
    }
    line.push_str(rest);
}

/// What is before the first character that needs an escape, the character, and what is after it. All of them are ASCII.
fn split_at_special(text: &str) -> Option<(&str, char, &str)> {
    let place = text.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f | 0x7f))?;
    let (before, rest) = text.split_at_checked(place)?;
    let mut rest = rest.chars();
    rest.next().map(|special| (before, special, rest.as_str()))
}

#[cfg(test)]
mod tests {
    use metrics::Counter;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::{super::lines::tests::Sink, *};

    #[test]
    fn a_line_is_one_json_object_whatever_is_in_it() {
        let sink = Sink::default();
        let (lines, writing) = Lines::start(sink.clone(), Counter::noop()).unwrap();
        let subscriber = tracing_subscriber::registry().with(AuditLines::new(lines));
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
    }
}
