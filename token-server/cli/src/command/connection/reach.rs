//! The cause of a failure to reach an issuer, from the errors of the connection and from the issuer's
//! metadata.

use std::{error::Error, io};

use rustls::{AlertDescription, CertificateError};
use token_interceptor::{
    http_client::{HttpClient, HttpError, is_of_unknown_ca},
    http_url::HttpUrl,
    json,
};

use super::client_certificate::HINT;
use crate::command::failure::{Failure, Kind};

/// The cause, as far as an error reveals it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// The certificate comes from an untrusted CA.
    UnknownCa,
    /// The certificate is for other hosts.
    OtherHost,
    /// The certificate has expired, or is not valid yet.
    CertificateTime,
    /// The port demands, or may demand, a client certificate.
    ClientCertificate,
    /// The URL is `https`, and the port does not speak TLS.
    NotTls,
    /// The URL is `http`, and the port speaks TLS.
    Tls,
    /// Any other cause: no such host, no listener, no response in time.
    Other,
}

/// Returns a failure to reach `issuer`, with the hint for its cause.
pub(in crate::command) fn unreachable(
    what: impl Into<String>,
    issuer: &str,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> Failure {
    let error = error.into();
    let failure = Failure::new(Kind::Unavailable, what);
    match obstacle(&*error, issuer) {
        Obstacle::UnknownCa => failure
            .because("the server's certificate comes from a CA that is not trusted here")
            .next("name that CA: --ca-file FILE (or TOKEN_CA_FILE)"),
        Obstacle::OtherHost => {
            failure.because(error).next("name the issuer by a host of its certificate: --issuer (or TOKEN_ISSUER)")
        }
        Obstacle::CertificateTime => {
            failure.because(error).next("renew the server's certificate, or correct the clock of this machine")
        }
        Obstacle::ClientCertificate => failure.because(error).next(HINT),
        Obstacle::NotTls => failure
            .with_kind(Kind::Usage)
            .because("the port does not speak TLS")
            .next("did you mean http:// (on this machine alone), or another port?"),
        Obstacle::Tls => failure
            .with_kind(Kind::Usage)
            .because("the port speaks TLS")
            .next(format!("did you mean --issuer {}?", issuer.replacen("http://", "https://", 1))),
        Obstacle::Other => failure
            .because(error)
            .next(format!("is it running? `token-server dev` starts one for this directory; the issuer is {issuer}")),
    }
}

fn obstacle(error: &(dyn Error + 'static), issuer: &str) -> Obstacle {
    if is_of_unknown_ca(error) {
        return Obstacle::UnknownCa;
    }
    let plaintext = issuer.starts_with("http://");
    let mut next = Some(error);
    while let Some(error) = next {
        let found = match error.downcast_ref::<rustls::Error>() {
            Some(error) => of_tls(error),
            None if plaintext && is_no_http(error) => Some(Obstacle::Tls),
            None if !plaintext && (is_cut_off(error) || is_alert(error)) => Some(Obstacle::ClientCertificate),
            None => None,
        };
        if let Some(found) = found {
            return found;
        }
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            // The source of an I/O error is the source of the error inside it.
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    Obstacle::Other
}

fn of_tls(error: &rustls::Error) -> Option<Obstacle> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "every other TLS error is shown as it is")]
    match error {
        rustls::Error::InvalidMessage(_) => Some(Obstacle::NotTls),
        rustls::Error::InvalidCertificate(error) => match error {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Some(Obstacle::OtherHost)
            }
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. } => Some(Obstacle::CertificateTime),
            _ => None,
        },
        rustls::Error::AlertReceived(alert) if ALERTS.contains(alert) => Some(Obstacle::ClientCertificate),
        _ => None,
    }
}

/// The alerts of a server that rejects a certificate, or requires one. RFC 8446 section 6.2.
const ALERTS: [AlertDescription; 9] = [
    AlertDescription::CertificateRequired,
    AlertDescription::BadCertificate,
    AlertDescription::CertificateUnknown,
    AlertDescription::CertificateExpired,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
    AlertDescription::HandshakeFailure,
];

/// Returns true for one of those alerts as text. HTTP/2 keeps only the text of an error of the connection
/// below.
fn is_alert(error: &(dyn Error + 'static)) -> bool {
    let text = error.to_string();
    let named = text.split_once("received fatal alert: ").map(|(_, name)| name);
    named.is_some_and(|name| ALERTS.iter().any(|alert| format!("{alert:?}") == name))
}

/// Returns true for the error of an HTTP/1.1 parser that has read a TLS alert.
fn is_no_http(error: &(dyn Error + 'static)) -> bool {
    error.to_string().contains("invalid HTTP version parsed")
}

/// Returns true for a connection that the server closed before it responded. In TLS 1.3, a server that
/// demands a client certificate rejects after the handshake. It may close before its alert is read.
fn is_cut_off(error: &(dyn Error + 'static)) -> bool {
    let cut_off = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof
        )
    };
    // HTTP libraries keep only the text of some of these.
    let text = error.to_string().to_ascii_lowercase();
    error.downcast_ref::<io::Error>().is_some_and(cut_off)
        || ["connection closed", "broken pipe", "connection reset"].iter().any(|sign| text.contains(sign))
}

/// The result of one request for an issuer's metadata (RFC 8414 section 3, OpenID Connect Discovery section
/// 4).
#[derive(Debug)]
pub(in crate::command) enum Look {
    /// The metadata of this issuer.
    Found,
    /// The metadata of another issuer, with its name.
    OtherIssuer(String),
    /// No metadata: the URL, and the response.
    Nothing(HttpUrl, String),
    /// No response.
    Failed(HttpError),
}

/// Requests the metadata at both well-known URLs of `issuer`.
pub(in crate::command) async fn look(client: &HttpClient, issuer: &str) -> Look {
    let mut found = None;
    for place in places(issuer) {
        let look = match client.get(&place).await {
            Err(error) => return Look::Failed(error),
            Ok(answer) if answer.status.is_success() => match named(&answer.body) {
                Some(named) if named == issuer => return Look::Found,
                Some(named) => return Look::OtherIssuer(named),
                None => Look::Nothing(place, "no metadata of an issuer".to_owned()),
            },
            Ok(answer) => Look::Nothing(place, format!("HTTP {}", answer.status)),
        };
        found.get_or_insert(look);
    }
    found.unwrap_or(Look::Found)
}

fn places(issuer: &str) -> Vec<HttpUrl> {
    let Ok(issuer) = HttpUrl::parse(issuer) else { return Vec::new() };
    let path = issuer.path().trim_end_matches('/');
    let places =
        [format!("/.well-known/oauth-authorization-server{path}"), format!("{path}/.well-known/openid-configuration")];
    places.iter().filter_map(|place| issuer.with_path(place).ok()).collect()
}

fn named(body: &[u8]) -> Option<String> {
    json::object(body).ok()?.get("issuer")?.as_str().map(str::to_owned)
}

/// Adds the result `look` to `failure`, which said only that the issuer cannot be used.
pub(in crate::command) fn after_look(failure: Failure, issuer: &str, look: Look) -> Failure {
    match look {
        Look::Found => failure,
        Look::OtherIssuer(named) => {
            let other =
                Failure::usage(format!("the server at {issuer} is the issuer {named:?}, which is another name"));
            if named.trim_end_matches('/') == issuer.trim_end_matches('/') {
                other.next(format!("did you mean --issuer {}?", named.escape_debug()))
            } else {
                other.next("an issuer's name is compared character by character: --issuer (or TOKEN_ISSUER)")
            }
        }
        Look::Nothing(place, answer) => Failure::new(Kind::Unavailable, format!("{place} answered {answer}"))
            .next(format!("is {issuer} the issuer? The path of its URL counts: --issuer (or TOKEN_ISSUER)")),
        Look::Failed(error) => unreachable(format!("cannot reach the issuer {issuer}"), issuer, error),
    }
}

/// Returns the failure of an admin call without a response over gRPC. `look` tells whether the issuer is
/// reachable.
pub(in crate::command) fn without_grpc(failure: Failure, issuer: &str, look: Look) -> Failure {
    match look {
        Look::Found => failure.next(format!(
            "the issuer {issuer} answers over HTTP; try again. Behind a proxy: the admin API needs gRPC over HTTP/2 at \
             the root of the host, so the proxy must pass /{}. and its siblings there, for every issuer path",
            token_proto::admin::v1::client_service_server::SERVICE_NAME.replace(".ClientService", "")
        )),
        look @ (Look::OtherIssuer(_) | Look::Nothing(..) | Look::Failed(_)) => after_look(failure, issuer, look),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_of_an_issuer_with_a_path_are_at_two_places() {
        let places = |issuer| places(issuer).iter().map(ToString::to_string).collect::<Vec<_>>();
        for issuer in ["https://a.example/sso/t", "https://a.example/sso/t/"] {
            assert_eq!(
                places(issuer),
                [
                    "https://a.example/.well-known/oauth-authorization-server/sso/t",
                    "https://a.example/sso/t/.well-known/openid-configuration"
                ]
            );
        }
        assert_eq!(places("https://a.example")[0], "https://a.example/.well-known/oauth-authorization-server");
    }

    #[test]
    fn an_alert_is_found_in_the_text_of_an_error() {
        let of = |text: &str| obstacle(&io::Error::other(text.to_owned()), "https://a.example");
        let text = "connection error: received fatal alert: CertificateRequired";
        assert_eq!(of(text), Obstacle::ClientCertificate);
        assert_eq!(of("connection error: received fatal alert: InternalError"), Obstacle::Other);
    }

    #[test]
    fn a_certificate_hint_needs_a_sign_of_tls() {
        let io = |kind| io::Error::from(kind);
        let of = |error: io::Error, issuer| obstacle(&error, issuer);
        let (tls, plain) = ("https://a.example", "http://127.0.0.1:1");
        assert_eq!(of(io(io::ErrorKind::ConnectionRefused), tls), Obstacle::Other);
        assert_eq!(of(io(io::ErrorKind::ConnectionReset), tls), Obstacle::ClientCertificate);
        assert_eq!(of(io(io::ErrorKind::ConnectionReset), plain), Obstacle::Other);
        let alert = |alert| io::Error::other(rustls::Error::AlertReceived(alert));
        assert_eq!(of(alert(AlertDescription::CertificateRequired), tls), Obstacle::ClientCertificate);
        assert_eq!(of(alert(AlertDescription::InternalError), tls), Obstacle::Other);
        let certificate = |error| io::Error::other(rustls::Error::InvalidCertificate(error));
        assert_eq!(of(certificate(CertificateError::UnknownIssuer), tls), Obstacle::UnknownCa);
        assert_eq!(of(certificate(CertificateError::Expired), tls), Obstacle::CertificateTime);
        assert_eq!(of(certificate(CertificateError::NotValidForName), tls), Obstacle::OtherHost);
    }
}
