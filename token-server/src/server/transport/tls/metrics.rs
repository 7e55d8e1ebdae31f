//! The metrics of a port's TLS files: expiry of the certificates (RFC 5280 section 4.1.2.5), and validity of
//! new files.

use metrics::{counter, gauge};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};

use super::Pem;

/// The metrics of one port.
#[derive(Debug)]
pub(super) struct Metrics {
    port: &'static str,
}

impl Metrics {
    pub(super) fn new(port: &'static str) -> Self {
        let metrics = Self { port };
        metrics.usable(true);
        for (file, outcome) in [("certificate", "changed"), ("client_ca", "changed"), ("any", "unusable")] {
            metrics.reloads(file, outcome, 0);
        }
        metrics
    }

    /// Reports the files that new handshakes use.
    pub(super) fn in_use(&self, pem: &Pem) {
        if let Some(ends) = first_end(&pem.certificate) {
            gauge!("token_server_tls_certificate_not_after_timestamp_seconds", "port" => self.port).set(ends as f64);
        }
        let Some(client_ca) = &pem.client_ca else { return };
        if let Some(ends) = first_end(client_ca) {
            gauge!("token_server_tls_client_ca_not_after_timestamp_seconds", "port" => self.port).set(ends as f64);
        }
        let roots = CertificateDer::pem_slice_iter(client_ca).count();
        gauge!("token_server_tls_client_ca_certificates", "port" => self.port).set(roots as f64);
    }

    /// Reports the files that changed.
    pub(super) fn changed(&self, certificate: bool, client_ca: bool) {
        self.reloads("certificate", "changed", u64::from(certificate));
        self.reloads("client_ca", "changed", u64::from(client_ca));
    }

    /// Reports if the files were valid at the last reload.
    pub(super) fn usable(&self, usable: bool) {
        gauge!("token_server_tls_files_usable", "port" => self.port).set(f64::from(usable));
        self.reloads("any", "unusable", u64::from(!usable));
    }

    fn reloads(&self, file: &'static str, outcome: &'static str, number: u64) {
        let labels = [("port", self.port), ("file", file), ("outcome", outcome)];
        counter!("token_server_tls_reloads_total", &labels).increment(number);
    }
}

/// Returns the time when the first of the certificates expires, in seconds since 1970. A chain is valid no
/// longer than that.
fn first_end(pem: &[u8]) -> Option<i64> {
    let ends = CertificateDer::pem_slice_iter(pem).flatten().filter_map(|der| {
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    ends.min()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_chain_ends_with_the_first_certificate_of_it_that_does() {
        let certificate = |year| {
            let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            parameters.not_after = date_time_ymd(year, 1, 1);
            parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
        };
        let chain = [certificate(2040), certificate(2030)].concat();
        assert_eq!(first_end(chain.as_bytes()), Some(date_time_ymd(2030, 1, 1).unix_timestamp()));
        assert_eq!(first_end(b"no certificate"), None);
    }
}
