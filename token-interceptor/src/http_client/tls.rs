//! TLS over TCP, with the machine's trusted roots, extra roots, and a client certificate.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    connector::Connector,
    error::Kind::{self, UnusableClientCertificate, UnusableRoots},
};

/// The certificate for a server that asks for one.
#[derive(Clone, Debug)]
pub(super) struct ClientCertificate {
    pub(super) chain_pem: Vec<u8>,
    pub(super) private_key_pem: SecretString,
}

pub(super) fn config(
    extra_roots_pem: &[u8],
    client_certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, Kind> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|_| UnusableRoots)?
        .with_root_certificates(roots(extra_roots_pem)?);
    let Some(shown) = client_certificate else { return Ok(builder.with_no_client_auth()) };
    let unusable = |_| UnusableClientCertificate;
    let chain = CertificateDer::pem_slice_iter(&shown.chain_pem).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    let private_key =
        PrivateKeyDer::from_pem_slice(shown.private_key_pem.expose_secret().as_bytes()).map_err(unusable)?;
    builder.with_client_auth_cert(chain, private_key).map_err(|_| UnusableClientCertificate)
}

pub(super) fn connector(config: ClientConfig, connector: Connector) -> HttpsConnector<Connector> {
    HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_all_versions().wrap_connector(connector)
}

/// A machine without trusted roots is no error: the extra ones may be enough.
pub(super) fn roots(extra_pem: &[u8]) -> Result<RootCertStore, Kind> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in native.errors {
        // The operator may have named it: SSL_CERT_FILE, SSL_CERT_DIR.
        tracing::warn!(error = &error as &dyn std::error::Error, "a trusted root of the machine is not readable");
    }
    roots.add_parsable_certificates(native.certs);
    let mut added = 0;
    for certificate in CertificateDer::pem_slice_iter(extra_pem) {
        roots.add(certificate.map_err(|_| UnusableRoots)?).map_err(|_| UnusableRoots)?;
        added += 1;
    }
    if added == 0 && !extra_pem.is_empty() { Err(UnusableRoots) } else { Ok(roots) }
}
