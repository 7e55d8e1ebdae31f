//! `envoy.service.auth.v3.Authorization`: a proxy's question about a request, answered by the layer that guards tonic
//! services, so with its verdict and in its words: for servers in languages that have no layer of ours.
//!
//! The question becomes the request that it is about, the request goes through the layer, and what comes out of it
//! becomes the answer. Every answer is a decision: an RPC that fails would let the request through wherever the proxy
//! is told to let failures pass (`failure_mode_allow`).

mod answer;
mod question;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use token_interceptor::{caller::Caller, layer::Refusal};
use token_proto::token::v1::ErrorReason;
use tonic::Status;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::{
    audit::Guarded,
    config::AuditedDecisions,
    envoy::service::auth::v3::{CheckRequest, CheckResponse, authorization_server},
    origin::Origin,
};
use question::Question;

/// The head of a request, and whatever of the body the filter is told to send along.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// In the audit stream.
const OPERATION: &str = "authorize_call";

/// The service, ready to be added to a router; `layer` decides, and `audited` decisions are written down.
#[must_use]
pub fn server<L>(
    layer: &L,
    audited: AuditedDecisions,
) -> authorization_server::AuthorizationServer<ExtAuthz<L::Service>>
where
    L: Layer<Admission>,
    ExtAuthz<L::Service>: authorization_server::Authorization,
{
    authorization_server::AuthorizationServer::new(ExtAuthz::new(layer.layer(Admission), audited))
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Decides as the layer around [`Admission`] does.
#[derive(Clone, Debug)]
pub struct ExtAuthz<G> {
    gate: G,
    audited: AuditedDecisions,
}

impl<G> ExtAuthz<G> {
    /// `gate`: [`Admission`] behind a layer.
    #[must_use]
    pub fn new(gate: G, audited: AuditedDecisions) -> Self {
        Self { gate, audited }
    }
}

#[tonic::async_trait]
impl<G, B> authorization_server::Authorization for ExtAuthz<G>
where
    G: Service<Request<Body>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    G::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    async fn check(&self, request: tonic::Request<CheckRequest>) -> Result<tonic::Response<CheckResponse>, Status> {
        let (_, extensions, check) = request.into_parts();
        let Question { request, claimed } = Question::of(check);
        // The peer is the proxy; the request ID is that of the request which it asks about.
        let origin = Origin::of(request.headers(), &extensions);
        let path = request.uri().path().to_owned();
        let on_record = Guarded { origin: &origin, operation: OPERATION, resource: Some(&path) };
        let Ok(response) = self.gate.clone().oneshot(request).await;
        let (head, body) = response.into_parts();
        let answer = match head.extensions.get::<Admitted>() {
            Some(Admitted(caller)) => {
                match self.audited {
                    AuditedDecisions::All => on_record.granted("allowed", caller.as_ref()),
                    AuditedDecisions::Refused => {}
                }
                answer::admitted(caller.as_ref(), &claimed)
            }
            None => {
                match head.extensions.get::<Refusal>() {
                    Some(refusal) => on_record.denied(refusal),
                    None => on_record.refused("failed", (ErrorReason::Internal.as_reason(), None), None),
                }
                // The layer's own answers are whole when they are made.
                answer::denied(&head, &body.collect().await.map(|body| body.to_bytes()).unwrap_or_default())
            }
        };
        Ok(tonic::Response::new(answer))
    }
}

/// What a layer guards here: it says that it was reached, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Admission;

/// In the extensions of an answer that came from [`Admission`] alone; without a caller where the method is open.
#[derive(Clone)]
struct Admitted(Option<Caller>);

impl Service<Request<Body>> for Admission {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(Admitted(request.extensions().get::<Caller>().cloned()));
        ready(Ok(response))
    }
}
