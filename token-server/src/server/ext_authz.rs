//! The port where proxies ask: `envoy.service.auth.v3.Authorization` behind the guard, on a listener of its own.

use axum::Router;
use tonic::service::Routes;

use super::{guard::Guard, tls::ReloadingTls, tls::TlsError};
use crate::{
    config::{AuditedDecisions, Config, ExtAuthz, Tls},
    service,
};

/// The one service of the port.
pub(super) fn routes(guard: &Guard, audited: AuditedDecisions) -> Router {
    Routes::new(service::ext_authz::server(guard, audited)).into_axum_router().with_state(())
}

/// Whoever asks shows a certificate of the CA that is named for that. Without one the port is on loopback: so the
/// configuration was checked.
pub(super) fn tls(config: &Config, ext_authz: &ExtAuthz) -> Result<Option<ReloadingTls>, TlsError> {
    let (Some(tls), Some(client_ca)) = (&config.tls, &ext_authz.client_ca) else { return Ok(None) };
    let files = Tls { client_ca: Some(client_ca.clone()), client_certificate_required: true, ..tls.clone() };
    // By which name proxies connect is theirs to know.
    ReloadingTls::load(&files, "ext_authz", None).map(Some)
}
