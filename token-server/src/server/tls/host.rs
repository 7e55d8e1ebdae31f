//! Whether the certificate is good for the host that clients are told (RFC 9525 section 6): where it is not, every
//! client refuses the connection, and the server sees no more than handshakes that break off.

use std::{net::IpAddr, path::Path};

use rustls::{client::verify_server_name, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, ServerName};
use url::Host;

use crate::config::IssuerUrl;

/// Says so in the log where `leaf` is not good for the issuer's host. Never a refusal: what ends TLS in front of the
/// server may show clients another certificate.
pub(super) fn warn_unless_good(leaf: &CertificateDer<'_>, file: &Path, issuer: &IssuerUrl) {
    let Some(host) = issuer.host() else { return };
    if let Err(error) = good_for(leaf, &host) {
        tracing::warn!(
            certificate = %file.display(),
            %host,
            %error,
            "the TLS certificate is not good for the host of [issuer] url: clients that connect to this port by it will \
             refuse the connection"
        );
    }
}

fn good_for(leaf: &CertificateDer<'_>, host: &Host) -> Result<(), rustls::Error> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.as_str())
            .map_err(|_| rustls::Error::General("the host is not a name that certificates can have".to_owned()))?,
        Host::Ipv4(address) => IpAddr::V4(*address).into(),
        Host::Ipv6(address) => IpAddr::V6(*address).into(),
    };
    verify_server_name(&ParsedCertificate::try_from(leaf)?, &name)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn certificate(names: &[&str]) -> CertificateDer<'static> {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let signed = CertificateParams::new(names).unwrap().self_signed(&KeyPair::generate().unwrap()).unwrap();
        signed.der().clone()
    }

    fn is_good(leaf: &CertificateDer<'_>, issuer: &str) -> bool {
        good_for(leaf, &IssuerUrl::parse(issuer).unwrap().host().unwrap()).is_ok()
    }

    #[test]
    fn a_certificate_is_good_for_its_names_and_addresses_and_for_nothing_else() {
        let leaf = certificate(&["tokens.example", "*.eu.example", "192.0.2.7", "2001:db8::7"]);
        for issuer in [
            "https://tokens.example",
            "https://tokens.example:8443/a",
            "https://one.eu.example",
            "https://192.0.2.7",
            "https://[2001:db8::7]:8443",
        ] {
            assert!(is_good(&leaf, issuer), "{issuer}");
        }
        for issuer in [
            "https://example",
            "https://a.tokens.example",
            "https://a.one.eu.example",
            "https://192.0.2.8",
            "https://[2001:db8::8]",
        ] {
            assert!(!is_good(&leaf, issuer), "{issuer}");
        }
    }
}
