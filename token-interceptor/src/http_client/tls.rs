//! The settings of TLS: the provider of its cryptography, the trusted roots, and a client certificate.
//!
//! A library must not choose the provider of the whole process, so nothing here installs one. The order is
//! the program's own `ClientConfig`, then the provider that the program installed, then that of the features.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::error::Kind::{self, NoTlsProvider, UnusableRoots, UnusableTls};

/// The certificate for a server that asks for one.
#[cfg(feature = "http")]
#[derive(Clone, Debug)]
pub(super) struct ClientCertificate {
    pub(super) chain_pem: Vec<u8>,
    pub(super) private_key_pem: secrecy::SecretString,
}

/// Returns settings with the machine's roots and `extra_roots_pem`.
pub(super) fn config(extra_roots_pem: &[u8]) -> Result<ClientConfig, Kind> {
    Ok(builder(extra_roots_pem)?.with_no_client_auth())
}

/// Returns settings as [`config`], and presents `shown` to servers that ask for a certificate.
#[cfg(feature = "http")]
pub(super) fn config_of_client(extra_roots_pem: &[u8], shown: &ClientCertificate) -> Result<ClientConfig, Kind> {
    use rustls_pki_types::PrivateKeyDer;
    use secrecy::ExposeSecret as _;

    let unusable = |_| Kind::UnusableClientCertificate;
    let chain = CertificateDer::pem_slice_iter(&shown.chain_pem).collect::<Result<Vec<_>, _>>().map_err(unusable)?;
    let private_key =
        PrivateKeyDer::from_pem_slice(shown.private_key_pem.expose_secret().as_bytes()).map_err(unusable)?;
    let builder = builder(extra_roots_pem)?;
    builder.with_client_auth_cert(chain, private_key).map_err(|_| Kind::UnusableClientCertificate)
}

fn builder(
    extra_roots_pem: &[u8],
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Kind> {
    let builder = ClientConfig::builder_with_provider(provider()?).with_safe_default_protocol_versions();
    Ok(builder.map_err(UnusableTls)?.with_root_certificates(roots(extra_roots_pem)?))
}

/// Returns the provider that the program installed, or that of the features. `aws-lc` comes first: it is on
/// only where it was asked for.
fn provider() -> Result<Arc<CryptoProvider>, Kind> {
    if let Some(installed) = CryptoProvider::get_default() {
        return Ok(Arc::clone(installed));
    }
    of_features().map(Arc::new).ok_or(NoTlsProvider)
}

#[cfg(feature = "aws-lc")]
fn of_features() -> Option<CryptoProvider> {
    Some(rustls::crypto::aws_lc_rs::default_provider())
}

#[cfg(all(feature = "ring", not(feature = "aws-lc")))]
fn of_features() -> Option<CryptoProvider> {
    Some(rustls::crypto::ring::default_provider())
}

#[cfg(not(any(feature = "ring", feature = "aws-lc")))]
fn of_features() -> Option<CryptoProvider> {
    None
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
