//! The port where proxies ask: `envoy.service.auth.v3.Authorization` behind the guard, on a listener of its own.

use axum::Router;
use tonic::service::Routes;

use super::{guard::Guard, tls::ReloadingTls, tls::TlsError};
use crate::{
    config::{AuditedDecisions, Config, Tls},
    service,
};

/// The one service of the port.
pub(super) fn routes(guard: &Guard, audited: AuditedDecisions) -> Router {
    Routes::new(service::ext_authz::server(guard, audited)).into_axum_router().with_state(())
}

/// A proxy shows a certificate of the CA that is named for that. Without one the port is on loopback: so the
/// configuration was checked.
pub(super) fn tls(config: &Config) -> Result<Option<ReloadingTls>, TlsError> {
    let Some(files) = tls_files(config) else { return Ok(None) };
    // Proxies connect by a name that they know and this server does not.
    ReloadingTls::load(&files, "ext_authz", None).map(Some)
}

/// The TLS files of the port, where it has TLS.
pub(super) fn tls_files(config: &Config) -> Option<Tls> {
    let client_ca = config.ext_authz.as_ref()?.client_ca.clone()?;
    let tls = config.tls.clone()?;
    Some(Tls { client_ca: Some(client_ca), client_certificate_required: true, ..tls })
}
