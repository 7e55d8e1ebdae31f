//! Values of flags and variables, checked before anything is sent. Such an error is an error of the command
//! line, and a retry does not help.

use std::path::Path;

use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use token_interceptor::http_url::{HttpUrl, shown};

use crate::command::failure::Failure;

/// The flag and the variable that name an issuer.
pub(in crate::command) const ISSUER: &str = "--issuer (or TOKEN_ISSUER)";
/// The hint that names the flag and the variable of a CA.
const CA_FILE: &str = "name the issuer's CA, in PEM: --ca-file FILE (or TOKEN_CA_FILE)";

/// Parses the URL that `name` was given: https, or http on this machine.
pub(in crate::command) fn url(name: &str, text: &str) -> Result<HttpUrl, Failure> {
    let wrong = |what: &str| {
        Failure::usage(format!("{} {what}", shown(text)))
            .next(format!("{name} takes a URL such as https://tokens.example.com"))
    };
    let url = HttpUrl::parse(text).map_err(|error| wrong("cannot be used").because(error))?;
    if url.is_https() || url.is_loopback() { Ok(url) } else { Err(wrong("is plaintext, and not on this machine")) }
}

/// Reads a CA file, which must hold at least one certificate.
pub(in crate::command) fn ca(path: &Path) -> Result<Vec<u8>, Failure> {
    let unusable = |what: &str| Failure::usage(format!("{what} {}", path.display())).next(CA_FILE);
    let pem = std::fs::read(path).map_err(|error| unusable("cannot read the CA file").because(error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| unusable("there is broken PEM in the CA file"))?;
        roots.add(certificate).map_err(|error| unusable("there is no usable CA in the CA file").because(error))?;
    }
    if roots.is_empty() { Err(unusable("there is no certificate in PEM in the CA file")) } else { Ok(pem) }
}
