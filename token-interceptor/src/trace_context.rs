//! W3C Trace Context on this crate's own requests to issuers: for tokens, for keys, for metadata.
//!
//! Nothing is sent unless the program sets a function that turns a span into header fields. So the program
//! chooses the tracing system and its version. The function is called before each request, within the span
//! `obtain token` or `fetch keys`. Each is a trace of its own, as it serves all calls and not only the first.
//! With OpenTelemetry:
//!
//! ```no_run
//! use http::{HeaderMap, HeaderName, HeaderValue};
//! use opentelemetry::propagation::{Injector, TextMapPropagator as _};
//! use opentelemetry_sdk::propagation::TraceContextPropagator;
//! use tracing_opentelemetry::OpenTelemetrySpanExt as _;
//!
//! struct Fields<'a>(&'a mut HeaderMap);
//!
//! impl Injector for Fields<'_> {
//!     fn set(&mut self, name: &str, value: String) {
//!         if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
//!             self.0.insert(name, value);
//!         }
//!     }
//! }
//!
//! token_interceptor::trace_context::propagate(|headers| {
//!     let context = tracing::Span::current().context();
//!     TraceContextPropagator::new().inject_context(&context, &mut Fields(headers));
//! });
//! ```

use std::sync::OnceLock;

use http::{Extensions, HeaderMap};
use tonic::{Request, metadata::MetadataMap};

static INJECT: OnceLock<fn(&mut HeaderMap)> = OnceLock::new();

/// Makes `inject` add the current span to each request, for the life of the process. Later calls have no
/// effect.
pub fn propagate(inject: fn(&mut HeaderMap)) {
    let _ = INJECT.set(inject);
}

pub(crate) fn inject(headers: &mut HeaderMap) {
    if let Some(inject) = INJECT.get() {
        inject(headers);
    }
}

/// Wraps a message in a request with the trace context.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    Request::from_parts(MetadataMap::from_headers(headers), Extensions::new(), message)
}
