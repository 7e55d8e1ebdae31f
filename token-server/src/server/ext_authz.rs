//! The port for proxies: `envoy.service.auth.v3.Authorization` behind the guard, on its own listener.

use axum::Router;
use token_interceptor::layer::AuthorizationLayer;
use tonic::service::Routes;

use super::transport::tls::{ReloadingTls, TlsError};
use crate::{
    config::{AuditedDecisions, Config, Tls},
    grpc,
};

/// Returns the one service of the port.
pub(super) fn routes(guard: &AuthorizationLayer, audited: AuditedDecisions) -> Router {
    Routes::new(grpc::ext_authz::server(guard, audited)).into_axum_router().with_state(())
}

/// Loads the port's TLS. A proxy presents a certificate of the CA configured for it. Without TLS, the port is
/// on loopback; the configuration was checked for that.
pub(super) fn tls(config: &Config) -> Result<Option<ReloadingTls>, TlsError> {
    let Some(files) = tls_files(config) else { return Ok(None) };
    // Proxies connect by a name that this server does not know.
    ReloadingTls::load(&files, "ext_authz", None).map(Some)
}

/// Returns the TLS files of the port, if it has TLS.
pub(super) fn tls_files(config: &Config) -> Option<Tls> {
    let client_ca = config.ext_authz.as_ref()?.client_ca.clone()?;
    let tls = config.tls.clone()?;
    Some(Tls { client_ca: Some(client_ca), client_certificate_required: true, ..tls })
}
