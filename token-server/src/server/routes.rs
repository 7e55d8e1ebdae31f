//! The services of the main port: gRPC, gRPC-Web, Connect, and OAuth over HTTP.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::StatusCode;
use token_issuer::{issuer::Issuer, registration::Registrar};
use token_proto::FILE_DESCRIPTOR_SET;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::Layer as _;

use super::{
    ServeError,
    health::Health,
    middleware::{
        concurrency_limit::{ConcurrencyLimit, ConcurrencyLimitLayer},
        drain::EndOnDrain,
        fast_path::FastPath,
        framing::Framing,
        protocol::Protocol,
        recordable::{Recordable, RecordableLayer},
        spans::Spans,
        timing::{Timed, Timing},
    },
};
use crate::{
    connect::{Connect, ConnectLayer},
    grpc::{status, token, trust},
    http as oauth,
    http::TokenEndpoint,
};

/// The port's services and settings besides the issuer.
#[derive(Debug)]
pub(super) struct Extras {
    /// True to serve reflection.
    pub(super) reflection: bool,
    /// The limits on concurrent requests and their time.
    pub(super) concurrency_limit: ConcurrencyLimitLayer,
    /// The layer that holds decisions to the audit stream.
    pub(super) recordable: RecordableLayer,
    /// True to make a span for each request.
    pub(super) traced: bool,
    /// Metrics and health over HTTP, if they have no port of their own.
    pub(super) operations: Option<Router>,
    /// The registrar of clients that register themselves, if allowed.
    pub(super) registrar: Option<Arc<Registrar>>,
    /// Ends endless streams when the server stops.
    pub(super) drain: EndOnDrain,
}

/// All services of a port, with their layers.
pub(super) type Services = Connect<ConcurrencyLimit<Timed<Recordable<FastPath>>>>;

/// Assembles the services of the main port.
pub(super) fn services(
    issuer: Arc<Issuer>,
    admin: Option<Router>,
    health: &Health,
    extras: Extras,
) -> Result<Services, ServeError> {
    let connect = ConnectLayer::new(&oauth::path_of(&issuer.metadata().issuer).unwrap_or_default());
    let connect = connect.map_err(ServeError::internal)?;
    let (tokens, endpoint) = (token::server(Arc::clone(&issuer)), TokenEndpoint::new(Arc::clone(&issuer)));
    let mut grpc = Routes::new(tokens.clone())
        .add_service(trust::server(Arc::clone(&issuer)))
        .add_service(extras.drain.around(health.service()));
    if extras.reflection {
        let v1 = reflection().build_v1().map_err(ServeError::internal)?;
        let v1alpha = reflection().build_v1alpha().map_err(ServeError::internal)?;
        grpc = grpc.add_service(extras.drain.around(v1)).add_service(extras.drain.around(v1alpha));
    }
    let mut grpc = grpc.into_axum_router().reset_fallback();
    if let Some(admin) = admin {
        grpc = grpc.merge(admin);
    }
    let grpc = grpc.layer((
        // Translates gRPC-Web. Only on the gRPC routes, as it answers 400 to ordinary HTTP/1.1 requests.
        GrpcWebLayer::new(),
        // Answers messages that cannot be read with INVALID_ARGUMENT.
        Framing,
    ));
    let mut router = grpc.merge(oauth::router(issuer, extras.registrar));
    if extras.traced {
        // Makes a span for each request.
        router = router.layer(Spans);
    }
    if let Some(operations) = extras.operations {
        router = router.merge(operations);
    }
    // `with_state` once here, not once per connection: axum then does less work per request.
    let router = router.fallback(nothing_here).with_state(());
    let front = FastPath::new(router);
    // The router makes the spans, so with traces on it gets every request.
    let front = if extras.traced { front } else { front.with_tokens(tokens, endpoint) };
    Ok(connect.layer(layers(front, &extras.concurrency_limit, &extras.recordable)))
}

/// Assembles a port that serves nothing but `router`.
pub(super) fn only(
    router: Router,
    concurrency_limit: &ConcurrencyLimitLayer,
    recordable: &RecordableLayer,
) -> Services {
    ConnectLayer::off().layer(layers(FastPath::new(router), concurrency_limit, recordable))
}

/// The layers of every port, the innermost first.
fn layers(
    service: FastPath,
    concurrency_limit: &ConcurrencyLimitLayer,
    recordable: &RecordableLayer,
) -> ConcurrencyLimit<Timed<Recordable<FastPath>>> {
    // Holds decisions until the audit stream has room for them.
    let service = recordable.layer(service);
    // Measures the time of each request.
    let service = Timing::new().layer(service);
    // Bounds concurrent requests and the time of each, and sheds those that queued for too long.
    concurrency_limit.layer(service)
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // The types that errors carry, so that a client without .proto files can decode them.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Answers an unknown path, in the caller's own protocol.
async fn nothing_here(request: Request) -> Response {
    if Protocol::of(request.headers()) == Protocol::Grpc {
        return status::not_offered().into_http::<Body>();
    }
    let body = serde_json::json!({
        "error": "not_found",
        "error_description": "There is nothing at this path.",
        "see": "/.well-known/oauth-authorization-server",
    });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}
