//! A span for each request, as a child of the caller's span. Used only if traces are on.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::{extract::Request, response::Response};
use http::{HeaderMap, StatusCode};
use pin_project_lite::pin_project;
use token_issuer::{origin::REQUEST_ID, trace};
use tower::{Layer, Service};
use tracing::{Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::protocol::Protocol;

use crate::connection;

/// A layer that makes spans from a request's head to its response's. A stream of hours is not a span of
/// hours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spans;

impl<S> Layer<S> for Spans {
    type Service = Spanned<S>;

    fn layer(&self, inner: S) -> Spanned<S> {
        Spanned { inner }
    }
}

/// A service whose requests have spans.
#[derive(Clone, Debug)]
pub(crate) struct Spanned<S> {
    inner: S,
}

impl<S> Service<Request> for Spanned<S>
where
    S: Service<Request, Response = Response>,
{
    type Response = Response;
    type Error = S::Error;
    type Future = SpannedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let (span, grpc) = span(&request);
        let inner = span.in_scope(|| self.inner.call(request));
        SpannedFuture { inner, span, grpc }
    }
}

/// Returns the span, and true if the request is gRPC.
///
/// Names and fields follow the OpenTelemetry conventions for HTTP and RPC. The path is cut before any part
/// that a caller may have appended.
fn span(request: &Request) -> (Span, bool) {
    let grpc = Protocol::of(request.headers()) == Protocol::Grpc;
    let path = request.uri().path();
    let span = tracing::info_span!(
        target: trace::TARGET,
        "request",
        otel.name = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = Empty,
        rpc.method = Empty,
        rpc.grpc.status_code = Empty,
        http.request.method = Empty,
        http.response.status_code = Empty,
        url.path = Empty,
        network.peer.address = %connection::peer(request.extensions()),
        request_id = Empty,
    );
    if grpc {
        let method = path.trim_start_matches('/');
        span.record("otel.name", method).record("rpc.system", "grpc").record("rpc.method", method);
    } else {
        let name = format!("{} {path}", request.method());
        span.record("otel.name", name).record("http.request.method", request.method().as_str());
        span.record("url.path", path);
    }
    if let Some(caller) = trace::caller(request.headers())
        && let Err(error) = span.set_parent(caller)
    {
        tracing::debug!(%error, "cannot set the parent of a span");
    }
    (span, grpc)
}

/// Records the outcome in the span.
fn record(span: &Span, grpc: bool, status: StatusCode, headers: &HeaderMap) {
    if let Some(id) = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
        span.record("request_id", id);
    }
    let failed = if grpc {
        // A rejection is in the head; without one, messages follow.
        let code = headers.get("grpc-status").and_then(|code| code.to_str().ok()?.parse::<u8>().ok()).unwrap_or(0);
        span.record("rpc.grpc.status_code", code);
        is_ours(tonic::Code::from(i32::from(code)))
    } else {
        span.record("http.response.status_code", status.as_u16());
        status.is_server_error()
    };
    if failed {
        span.record("otel.status_code", "ERROR");
    }
}

/// Returns true if the server failed, and not the caller.
fn is_ours(code: tonic::Code) -> bool {
    use tonic::Code::{DataLoss, DeadlineExceeded, Internal, Unavailable, Unimplemented, Unknown};
    [Unknown, DeadlineExceeded, Unimplemented, Internal, Unavailable, DataLoss].contains(&code)
}

pin_project! {
    /// Ends its span at the response's head, or when the request is cancelled.
    pub(crate) struct SpannedFuture<F> {
        #[pin]
        inner: F,
        span: Span,
        grpc: bool,
    }
}

impl<F, E> Future for SpannedFuture<F>
where
    F: Future<Output = Result<Response, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let entered = this.span.enter();
        let answer = ready!(this.inner.poll(cx));
        drop(entered);
        if let Ok(response) = &answer {
            record(this.span, *this.grpc, response.status(), response.headers());
        }
        Poll::Ready(answer)
    }
}
