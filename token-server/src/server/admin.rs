//! The admin services, behind the guard, and audited.

use axum::Router;
use token_interceptor::{layer::AuthorizationLayer, verify::Verifier};
use token_issuer::admin::{AuditAdmin, ClientAdmin, KeyAdmin, RevocationAdmin};
use token_proto::admin::v1::{audit_service_server, client_service_server, key_service_server};
use tonic::service::Routes;

use super::{
    ServeError,
    guard::own_policy,
    middleware::{audited::AuditLayer, framing::Framing, standing::Standing},
};
use crate::grpc::{audit, clients, keys};

/// The dependencies of the admin services.
pub(super) struct Dependencies {
    pub(super) clients: ClientAdmin,
    pub(super) keys: KeyAdmin,
    pub(super) revocations: RevocationAdmin,
    pub(super) audit: AuditAdmin,
    /// The current rights of callers.
    pub(super) standing: Standing,
}

/// Returns the services. Their annotations declare the tokens that they require.
pub(super) fn routes(parts: Dependencies, verifier: Verifier) -> Result<Router, ServeError> {
    let services =
        [client_service_server::SERVICE_NAME, key_service_server::SERVICE_NAME, audit_service_server::SERVICE_NAME];
    let guard = AuthorizationLayer::new(verifier, own_policy(&services)?);
    let routes = Routes::new(clients::server(parts.clients, parts.revocations))
        .add_service(keys::server(parts.keys))
        .add_service(audit::server(parts.audit));
    Ok(routes.into_axum_router().reset_fallback().layer(Framing).layer(parts.standing).layer(guard).layer(AuditLayer))
}
