//! Draining: ends streams that would otherwise never end when the server stops.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body as HttpBody, Frame};
use tokio::sync::watch;
use tonic::{Code, body::Body, server::NamedService};
use tower::Service;

use crate::server::transport::phase::{Phase, reached};

/// Ends the responses of a service with UNAVAILABLE once the server drains. For services with endless
/// streams: a health watch, a reflection session.
#[derive(Clone, Debug)]
pub(crate) struct EndOnDrain(watch::Receiver<Phase>);

impl EndOnDrain {
    /// Creates a layer that ends responses once `phase` reaches draining.
    pub(crate) fn new(phase: watch::Receiver<Phase>) -> Self {
        Self(phase)
    }

    /// Wraps a service so that its responses end.
    pub(crate) fn around<S>(&self, inner: S) -> Ending<S> {
        Ending { inner, phase: self.0.clone() }
    }
}

/// A service whose responses end when the server drains.
#[derive(Clone, Debug)]
pub(crate) struct Ending<S> {
    inner: S,
    phase: watch::Receiver<Phase>,
}

impl<S: NamedService> NamedService for Ending<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Ending<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let response = self.inner.call(request);
        let drained = Box::pin(reached(self.phase.clone(), Phase::Draining));
        Box::pin(async move { Ok(response.await?.map(|body| Body::new(EndingBody { body: Some(body), drained }))) })
    }
}

/// A response body that ends early.
struct EndingBody {
    body: Option<Body>,
    drained: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl HttpBody for EndingBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if self.drained.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.body = None;
        let status = HeaderValue::from(Code::Unavailable as i32);
        Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::from_iter([(tonic::Status::GRPC_STATUS, status)])))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}
