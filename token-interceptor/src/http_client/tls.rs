//! TLS over TCP, with the machine's trusted roots and those that were added.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::{
    HttpError, TIMEOUT,
    addresses::Resolver,
    error::Kind::{self, UnusableRoots},
};

pub(super) fn connector(
    extra_roots_pem: &[u8],
    resolver: Resolver,
) -> Result<HttpsConnector<HttpConnector<Resolver>>, HttpError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| UnusableRoots)?
        .with_root_certificates(roots(extra_roots_pem)?)
        .with_no_client_auth();
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(TIMEOUT));
    Ok(HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_all_versions().wrap_connector(tcp))
}

/// A machine without trusted roots is no error: the extra ones may be all that is needed.
fn roots(extra_pem: &[u8]) -> Result<RootCertStore, Kind> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        tracing::debug!(error = &error as &dyn std::error::Error, "a trusted root of the machine is not readable");
    }
    roots.add_parsable_certificates(native.certs);
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(extra_pem) {
        roots.add(certificate.map_err(|_| UnusableRoots)?).map_err(|_| UnusableRoots)?;
        added += 1;
    }
    if added == 0 && !extra_pem.is_empty() { Err(UnusableRoots) } else { Ok(roots) }
}
