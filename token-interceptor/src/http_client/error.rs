//! The errors of an HTTP exchange.

use std::{error::Error, fmt};

#[cfg(feature = "http")]
use hyper_util::client::legacy;

#[cfg(feature = "http")]
use super::untrusted::{self, is_of_unknown_ca};
use crate::http_url::HttpUrlError;

/// The error of a failed exchange. `Display` names no secret and no URL; the caller knows the URL.
#[derive(Debug)]
pub struct HttpError(Kind);

#[derive(Debug)]
pub(super) enum Kind {
    UnusableUrl(HttpUrlError),
    PlaintextRefused,
    AddressRefused,
    NoTlsProvider,
    UnusableTls(rustls::Error),
    UnusableRoots,
    UnusableClientCertificate,
    TwoTlsSettings,
    TimedOut,
    BodyTooLarge,
    #[cfg(feature = "http")]
    Exchange(legacy::Error),
    BodyBroken(Box<dyn Error + Send + Sync>),
}

impl HttpError {
    /// Returns true if the same request may succeed later: the server or the network failed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0 {
            #[cfg(feature = "http")]
            Kind::Exchange(_) => true,
            Kind::TimedOut | Kind::BodyBroken(_) => true,
            Kind::UnusableUrl(_)
            | Kind::PlaintextRefused
            | Kind::AddressRefused
            | Kind::NoTlsProvider
            | Kind::UnusableTls(_)
            | Kind::UnusableRoots
            | Kind::UnusableClientCertificate
            | Kind::TwoTlsSettings
            | Kind::BodyTooLarge => false,
        }
    }

    /// Returns true if time ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.0, Kind::TimedOut)
    }

    /// Returns true if the URL was refused as plaintext.
    #[must_use]
    pub fn is_plaintext_refused(&self) -> bool {
        matches!(self.0, Kind::PlaintextRefused)
    }
}

impl From<Kind> for HttpError {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl From<HttpUrlError> for HttpError {
    fn from(error: HttpUrlError) -> Self {
        Self(Kind::UnusableUrl(error))
    }
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Kind::UnusableUrl(_) => "the URL cannot be used",
            Kind::PlaintextRefused => "plaintext http is refused to hosts other than loopback",
            Kind::AddressRefused => "the URL leads to an address that is not of the public Internet",
            Kind::NoTlsProvider => {
                "there is no TLS provider: enable the feature ring or aws-lc of token-interceptor, install a provider, or \
                 set tls_config"
            }
            Kind::UnusableTls(_) => "the TLS provider supports no version of TLS that is used here",
            Kind::UnusableRoots => "the extra roots are not certificates in PEM",
            Kind::UnusableClientCertificate => "the client certificate and its key are not matching PEM",
            Kind::TwoTlsSettings => "a client certificate and tls_config exclude each other: put it into the ClientConfig",
            Kind::TimedOut => "no complete answer arrived in time",
            Kind::BodyTooLarge => "the answer is larger than allowed",
            #[cfg(feature = "http")]
            Kind::Exchange(error) if is_of_unknown_ca(error) => untrusted::OVER_HTTP,
            #[cfg(feature = "http")]
            Kind::Exchange(_) => "the exchange failed",
            Kind::BodyBroken(_) => "the answer broke off",
        })
    }
}

impl Error for HttpError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0 {
            #[cfg(feature = "http")]
            Kind::Exchange(error) => Some(error),
            Kind::BodyBroken(error) => Some(&**error),
            Kind::UnusableUrl(error) => Some(error),
            Kind::UnusableTls(error) => Some(error),
            Kind::PlaintextRefused
            | Kind::AddressRefused
            | Kind::NoTlsProvider
            | Kind::UnusableRoots
            | Kind::UnusableClientCertificate
            | Kind::TwoTlsSettings
            | Kind::TimedOut
            | Kind::BodyTooLarge => None,
        }
    }
}
