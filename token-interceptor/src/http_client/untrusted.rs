//! Servers whose certificate comes from an untrusted CA (RFC 5280 section 6): how to detect them, and the
//! advice.

use std::{error::Error, io};

use rustls::CertificateError::{BadSignature, UnknownIssuer};

/// The advice for a connection by an [`HttpClient`](super::HttpClient).
pub(super) const OVER_HTTP: &str = "the server's certificate comes from a CA that is not trusted here: name the CA's \
                                    file in SSL_CERT_FILE, or give its PEM to HttpClientBuilder::extra_roots_pem";
/// The advice for a connection by an endpoint of tonic's.
pub(crate) const OVER_GRPC: &str = "the server's certificate comes from a CA that is not trusted here: give the CA to \
                                    the endpoint by ClientTlsConfig::ca_certificate, or, where that has native roots, \
                                    name the CA's file in SSL_CERT_FILE";

/// Returns true if `error`, or one of its causes, is that the server's certificate comes from an untrusted
/// CA.
#[must_use]
pub fn is_of_unknown_ca(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        // A bad signature: a CA of the same name is trusted, such as its predecessor.
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature))) {
            return true;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // Its own `source` would skip the wrapped error.
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    false
}
