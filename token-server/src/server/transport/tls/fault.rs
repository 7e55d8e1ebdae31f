//! Faults of the server's certificate. With one, clients reject the connection, and the server sees only
//! failed handshakes.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rustls::{client::verify_server_name, server::ParsedCertificate};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use url::Host;

use crate::config::IssuerUrl;

/// The longest time before its end in which a certificate is reported.
const SOON_MAX: Duration = Duration::from_secs(14 * 86_400);
/// The fraction of its lifetime in which a certificate is reported. A certificate of one hour is thus not
/// always reported.
const SOON_PART: u32 = 10;

/// A fault of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is not valid for the host of the issuer (RFC 9525 section 6). A proxy in front may present another
    /// one to clients.
    OtherHost { file: PathBuf, host: String, error: String },
    /// It has ended (RFC 5280 section 4.1.2.5).
    Expired { file: PathBuf, end: SystemTime },
    /// It is not valid yet.
    NotYetValid { file: PathBuf, begin: SystemTime },
    /// It expires soon.
    EndsSoon { file: PathBuf, end: SystemTime },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: &SystemTime| humantime::format_rfc3339_seconds(*time);
        match self {
            Self::OtherHost { file, host, error } => write!(
                f,
                "the TLS certificate is not valid for the host of [issuer] url: clients that connect to this port by it \
                 reject the connection. {}, host {host}: {error}",
                file.display()
            ),
            Self::Expired { file, end } => write!(
                f,
                "the TLS certificate has expired: clients reject the connection. {} ended at {}",
                file.display(),
                time(end)
            ),
            Self::NotYetValid { file, begin } => write!(
                f,
                "the TLS certificate is not valid yet: clients reject the connection. {} begins at {}",
                file.display(),
                time(begin)
            ),
            Self::EndsSoon { file, end } => {
                write!(f, "the TLS certificate expires soon. {} ends at {}", file.display(), time(end))
            }
        }
    }
}

/// Returns the faults of a PEM chain, the leaf first.
pub(super) fn faults(chain: &[u8], file: &Path, issuer: Option<&IssuerUrl>, now: SystemTime) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut certificates = CertificateDer::pem_slice_iter(chain).flatten().peekable();
    if let (Some(leaf), Some(host)) = (certificates.peek(), issuer.and_then(IssuerUrl::host))
        && let Err(error) = valid_for(leaf, &host)
    {
        let (host, error) = (host.to_string(), error.to_string());
        faults.push(Fault::OtherHost { file: file.to_owned(), host, error });
    }
    // One line for the chain: it expires with its first certificate.
    let times = certificates.filter_map(|certificate| times(&certificate));
    let (begins, ends): (Vec<_>, Vec<_>) = times.unzip();
    let (Some(begin), Some(end)) = (begins.into_iter().max(), ends.into_iter().min()) else { return faults };
    let file = file.to_owned();
    let soon = end.duration_since(begin).map_or(SOON_MAX, |lifetime| (lifetime / SOON_PART).min(SOON_MAX));
    if end <= now {
        faults.push(Fault::Expired { file, end });
    } else if now < begin {
        faults.push(Fault::NotYetValid { file, begin });
    } else if end <= now + soon {
        faults.push(Fault::EndsSoon { file, end });
    }
    faults
}

/// Returns the begin and end, or `None` for an unreadable certificate, which is reported elsewhere.
fn times(certificate: &CertificateDer<'_>) -> Option<(SystemTime, SystemTime)> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let time = |seconds: i64| {
        // Years after 9999 have no text form.
        let seconds = u64::try_from(seconds).unwrap_or(0).min(253_402_300_799);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let validity = certificate.validity();
    Some((time(validity.not_before.timestamp()), time(validity.not_after.timestamp())))
}

fn valid_for(leaf: &CertificateDer<'_>, host: &Host) -> Result<(), rustls::Error> {
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

    const DAY: Duration = Duration::from_secs(86_400);

    fn at(day: u32) -> SystemTime {
        SystemTime::UNIX_EPOCH + DAY * (20_000 + day)
    }

    fn certificate(names: &[&str], days: std::ops::Range<u32>) -> String {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        (parameters.not_before, parameters.not_after) = (at(days.start).into(), at(days.end).into());
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    fn faults_of(chain: &str, issuer: &str, now: SystemTime) -> Vec<&'static str> {
        let issuer = IssuerUrl::parse(issuer).unwrap();
        let faults = faults(chain.as_bytes(), Path::new("tls.crt"), Some(&issuer), now);
        let name = |fault: &Fault| match fault {
            Fault::OtherHost { .. } => "host",
            Fault::Expired { .. } => "expired",
            Fault::NotYetValid { .. } => "early",
            Fault::EndsSoon { .. } => "soon",
        };
        faults.iter().map(name).collect()
    }

    #[test]
    fn a_certificate_is_valid_for_its_names_and_addresses_alone() {
        let leaf = certificate(&["tokens.example", "*.eu.example", "192.0.2.7", "2001:db8::7"], 0..365);
        for issuer in [
            "https://tokens.example",
            "https://tokens.example:8443/a",
            "https://one.eu.example",
            "https://192.0.2.7",
            "https://[2001:db8::7]:8443",
        ] {
            assert_eq!(faults_of(&leaf, issuer, at(9)), Vec::<&str>::new(), "{issuer}");
        }
        for issuer in [
            "https://example",
            "https://a.tokens.example",
            "https://a.one.eu.example",
            "https://192.0.2.8",
            "https://[2001:db8::8]",
        ] {
            assert_eq!(faults_of(&leaf, issuer, at(9)), ["host"], "{issuer}");
        }
    }

    #[test]
    fn a_certificate_is_reported_before_its_begin_and_at_its_end() {
        let leaf = certificate(&["a.example"], 10..100);
        for (day, expected) in [(9, &["early"][..]), (10, &[]), (90, &[]), (92, &["soon"]), (100, &["expired"])] {
            assert_eq!(faults_of(&leaf, "https://a.example", at(day)), expected, "{day}");
        }
        assert_eq!(faults_of(&leaf, "https://b.example", at(200)), ["host", "expired"]);
    }

    #[test]
    fn a_chain_ends_with_the_first_of_its_certificates() {
        let chain = [certificate(&["a.example"], 0..300), certificate(&["ca"], 0..100)].concat();
        assert_eq!(faults_of(&chain, "https://a.example", at(101)), ["expired"]);
        assert_eq!(faults_of("no certificate", "https://a.example", at(1)), Vec::<&str>::new());
    }
}
