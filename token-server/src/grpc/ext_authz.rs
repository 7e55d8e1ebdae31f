//! `envoy.service.auth.v3.Authorization`: a proxy asks about a request, for servers in languages without a
//! layer of this project. The layer that guards tonic services decides, so verdict and wording are the same.
//!
//! The question is converted into the request that it describes. That request passes through the layer, and
//! the result becomes the answer. Every answer is a decision: a failed RPC would admit the request if the
//! proxy lets failures pass (`failure_mode_allow`).

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
use token_interceptor::{caller::Caller, layer::DeniedCall};
use token_issuer::audit::Guarded;
use token_proto::token::v1::ErrorReason;
use tonic::Status;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use crate::{
    config::AuditedDecisions,
    connection,
    envoy::service::auth::v3::{CheckRequest, CheckResponse, authorization_server},
};
use question::Question;

/// The longest message, in bytes: a request's head, and as much of its body as the filter is configured to
/// send.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// The operation's name in the audit stream.
const OPERATION: &str = "authorize_call";

/// Returns the service, ready for a router. `layer` decides, and `audited` decisions are audited.
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
    /// Creates the service. `gate` is [`Admission`] behind a layer.
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
        // The peer is the proxy; the request ID is that of the described request.
        let origin = connection::origin(request.headers(), &extensions);
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
                match head.extensions.get::<DeniedCall>() {
                    Some(refusal) => on_record.denied(refusal),
                    None => on_record.refused("failed", (ErrorReason::Internal.as_reason(), None), None),
                }
                // The layer's own responses are complete when they are made.
                answer::denied(&head, &body.collect().await.map(|body| body.to_bytes()).unwrap_or_default())
            }
        };
        Ok(tonic::Response::new(answer))
    }
}

/// The service that the layer guards here. It reports that it was reached, and by which caller.
#[derive(Clone, Copy, Debug)]
pub struct Admission;

/// The mark of a response that [`Admission`] made, in its extensions. There is no caller if the method is
/// open.
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
