//! W3C Trace Context on this crate's own requests to issuers: for tokens, for keys, for metadata.
//!
//! Nothing is sent unless the program says how a span becomes header fields: which system traces, and in which version, is
//! its choice. It is asked before each request, within the span of whatever the request is for: `obtain token` and
//! `fetch keys`, each a trace of its own, as it serves all calls and not the one that came first. With OpenTelemetry:
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
//!     TraceContextPropagator::new().inject_context(&tracing::Span::current().context(), &mut Fields(headers));
//! });
//! ```

use std::sync::OnceLock;

use http::{Extensions, HeaderMap};
use tonic::{Request, metadata::MetadataMap};

static INJECT: OnceLock<fn(&mut HeaderMap)> = OnceLock::new();

/// Has `inject` add the current span to each request, for the rest of the process's life. The first one stays.
pub fn propagate(inject: fn(&mut HeaderMap)) {
    let _ = INJECT.set(inject);
}

pub(crate) fn inject(headers: &mut HeaderMap) {
    if let Some(inject) = INJECT.get() {
        inject(headers);
    }
}

/// A message, ready to be sent.
pub(crate) fn request<T>(message: T) -> Request<T> {
    let mut headers = HeaderMap::new();
    inject(&mut headers);
    Request::from_parts(MetadataMap::from_headers(headers), Extensions::new(), message)
}
