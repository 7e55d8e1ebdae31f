//! The class of a failure to obtain a token: the first thing for an operator to check.

use std::{error::Error, io};

use rustls::CertificateError;

use crate::http_client::HttpError;

/// The class of a failure, found in the chain of its causes. It holds no host and no text from the issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// The issuer's certificate comes from a CA that is not trusted here.
    UntrustedCa,
    /// The issuer's certificate is for another host, has expired, or is invalid in another way.
    CertificateInvalid,
    /// The issuer's name does not resolve.
    NameNotResolved,
    /// Nothing listens at the issuer's address.
    ConnectionRefused,
    /// No route leads to the issuer's address.
    Unreachable,
    /// The connection broke off.
    ConnectionLost,
    /// No answer came in time.
    TimedOut,
    /// The issuer's URL is plaintext to another machine.
    PlaintextRefused,
    /// The token had expired on arrival.
    ExpiredOnArrival,
    /// The issuer answered without a token.
    Answer,
}

impl Cause {
    /// Returns a stable name, such as `untrusted_ca`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UntrustedCa => "untrusted_ca",
            Self::CertificateInvalid => "certificate_invalid",
            Self::NameNotResolved => "name_not_resolved",
            Self::ConnectionRefused => "connection_refused",
            Self::Unreachable => "unreachable",
            Self::ConnectionLost => "connection_lost",
            Self::TimedOut => "timed_out",
            Self::PlaintextRefused => "plaintext_refused",
            Self::ExpiredOnArrival => "expired_on_arrival",
            Self::Answer => "answer",
        }
    }

    /// Returns a sentence for the caller.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::UntrustedCa => "the issuer's certificate comes from a CA that is not trusted here (untrusted_ca)",
            Self::CertificateInvalid => "the issuer's certificate is not valid for it (certificate_invalid)",
            Self::NameNotResolved => "the issuer's name does not resolve (name_not_resolved)",
            Self::ConnectionRefused => "nothing listens at the issuer's address (connection_refused)",
            Self::Unreachable => "no route leads to the issuer (unreachable)",
            Self::ConnectionLost => "the connection to the issuer broke off (connection_lost)",
            Self::TimedOut => "the issuer did not answer in time (timed_out)",
            Self::PlaintextRefused => "the issuer's URL is plaintext to another machine (plaintext_refused)",
            Self::ExpiredOnArrival => "the token had expired when it arrived (expired_on_arrival)",
            Self::Answer => "the issuer answered, and not with a token (answer)",
        }
    }

    /// Returns the innermost cause with a class.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let (mut next, mut found) = (Some(error), Self::Answer);
        while let Some(error) = next {
            found = Self::of_one(error).unwrap_or(found);
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                // Its own `source` would skip the wrapped error.
                Some(within) => Some(within),
                None => error.source(),
            };
        }
        found
    }

    fn of_one(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return of_tls(error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return of_io(error.kind());
        }
        if let Some(error) = error.downcast_ref::<HttpError>() {
            return match error {
                error if error.is_timeout() => Some(Self::TimedOut),
                error if error.is_plaintext_refused() => Some(Self::PlaintextRefused),
                _ => None,
            };
        }
        if error.is::<tokio::time::error::Elapsed>() || error.is::<tonic::TimeoutExpired>() {
            return Some(Self::TimedOut);
        }
        // The connector's error type is private.
        (error.to_string() == "dns error").then_some(Self::NameNotResolved)
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open enum; what is no certificate's fault tells nothing here")]
fn of_tls(error: &rustls::Error) -> Option<Cause> {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            Some(Cause::UntrustedCa)
        }
        rustls::Error::InvalidCertificate(_) => Some(Cause::CertificateInvalid),
        _ => None,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "an open enum, of which these tell something")]
fn of_io(kind: io::ErrorKind) -> Option<Cause> {
    match kind {
        io::ErrorKind::ConnectionRefused => Some(Cause::ConnectionRefused),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Some(Cause::Unreachable),
        io::ErrorKind::TimedOut => Some(Cause::TimedOut),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Some(Cause::ConnectionLost),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError::{Expired, UnknownIssuer};

    use super::*;

    fn wrapped(inner: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
        io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner))
    }

    #[test]
    fn the_innermost_cause_that_tells_something_counts() {
        let certificate = |error| wrapped(rustls::Error::InvalidCertificate(error));
        for (error, expected) in [
            (certificate(UnknownIssuer), "untrusted_ca"),
            (certificate(Expired), "certificate_invalid"),
            (wrapped(io::Error::from(io::ErrorKind::ConnectionRefused)), "connection_refused"),
            (io::Error::new(io::ErrorKind::TimedOut, "late"), "timed_out"),
            (io::Error::new(io::ErrorKind::ConnectionReset, "gone"), "connection_lost"),
            (io::Error::other("dns error"), "name_not_resolved"),
            (io::Error::other("something else"), "answer"),
        ] {
            assert_eq!(Cause::of(&error).name(), expected, "{error}");
            assert!(Cause::of(&error).sentence().contains(expected));
        }
    }
}
