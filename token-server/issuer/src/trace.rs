//! Spans of a request, and W3C Trace Context: the caller's span in, and this one's out to the called server.
//!
//! Spans have a `tracing` target of their own, so that with traces off a span costs one check of a flag. The
//! content of a span leaves the process: it is never a secret, a token or a query.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator as _},
    trace::{SpanId, TraceContextExt as _, TraceId},
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The target of every span that may leave the process.
pub const TARGET: &str = "crate::trace";

/// Returns the caller's span, if it sent a valid one. W3C Trace Context section 3.2.
pub fn caller(headers: &HeaderMap) -> Option<Context> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    context.span().span_context().is_valid().then_some(context)
}

/// Returns header fields that name the span to the called server. They are empty if traces are off.
pub(crate) fn callee(span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !span.is_disabled() {
        TraceContextPropagator::new().inject_context(&span.context(), &mut Written(&mut headers));
    }
    headers
}

/// Returns the trace and span of this thread, as the log names them. Returns `None` if traces are off.
pub fn current() -> Option<(TraceId, SpanId)> {
    Context::map_current(|context| {
        let span = context.span();
        let here = span.span_context();
        here.is_valid().then(|| (here.trace_id(), here.span_id()))
    })
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct Written<'a>(&'a mut HeaderMap);

impl Injector for Written<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(traceparent: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static("traceparent"), HeaderValue::from_static(traceparent))])
    }

    #[test]
    fn reads_the_span_of_a_caller() {
        let context = caller(&headers(PARENT)).unwrap();
        assert_eq!(context.span().span_context().trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(context.span().span_context().is_sampled());
    }

    #[test]
    fn a_broken_or_empty_caller_is_none() {
        for broken in ["", "00-", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "\u{7f}", "ff-x"] {
            let Ok(value) = HeaderValue::from_bytes(broken.as_bytes()) else { continue };
            assert!(caller(&HeaderMap::from_iter([(HeaderName::from_static("traceparent"), value)])).is_none());
        }
        assert!(caller(&HeaderMap::new()).is_none());
    }

    #[test]
    fn a_line_names_the_span_that_it_is_written_in() {
        assert_eq!(current(), None);
        let _attached = caller(&headers(PARENT)).unwrap().attach();
        let (trace_id, span_id) = current().unwrap();
        assert_eq!(trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span_id.to_string(), "00f067aa0ba902b7");
    }

    #[test]
    fn nothing_is_sent_where_nothing_is_traced() {
        assert!(callee(&Span::none()).is_empty());
    }
}
