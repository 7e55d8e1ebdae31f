//! The connection to an issuer: over gRPC, or to an OAuth token endpoint.

use std::{fmt, sync::Arc, time::Duration};

use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};

use super::grpc::GrpcIssuer;
#[cfg(feature = "http")]
use super::http::{AudienceParameter, HttpIssuer, Place, SecretIn};
#[cfg(feature = "http")]
use crate::http_client::HttpClient;
use crate::{
    clock::{Clock, SystemClock},
    danger,
    destination::{Destination, PlaintextRefused},
    http_client::{HttpError, Tls, connect_lazy, connect_url_lazy},
    http_url::{HttpUrl, HttpUrlError, may_hold_password},
};

/// The keepalive interval. A connection that answers no ping is dead; a slow server still answers pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest HTTP exchange. HTTP/1.1 has no pings, so a dead connection goes unnoticed for this long. The
/// limit on an attempt to get a token is slightly shorter.
#[cfg(feature = "http")]
const HTTP_MAX: Duration = Duration::from_secs(31);

/// A description of an issuer and its connection.
#[derive(Clone)]
pub struct IssuerBuilder {
    reach: Reach,
    tls: Tls,
    clock: Arc<dyn Clock>,
    plaintext_allowed: bool,
    #[cfg(feature = "http")]
    http: HttpSettings,
}

/// The settings for an issuer over HTTP alone.
#[cfg(feature = "http")]
#[derive(Clone, Default)]
struct HttpSettings {
    client: Option<HttpClient>,
    audience_parameter: AudienceParameter,
    secret_in: Option<SecretIn>,
}

#[derive(Clone)]
enum Reach {
    Grpc(GrpcAddress),
    Channel(Channel),
    #[cfg(feature = "http")]
    TokenEndpoint(String),
    #[cfg(feature = "http")]
    Discovery(String),
}

/// The error of an issuer's description that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceConfigError {
    /// It is not a URL of `https` or `http`.
    #[error("{url:?} is not a URL")]
    UnusableUrl {
        /// The URL as it was given.
        url: String,
        /// The fault.
        source: HttpUrlError,
    },
    /// The client's credentials could be read on the way.
    #[error("the issuer would be sent credentials in plaintext")]
    Plaintext(#[from] PlaintextRefused),
    /// The HTTP client rejects the URL, or has no trusted roots.
    #[error("the issuer cannot be reached over HTTP as configured")]
    Http(#[from] HttpError),
}

impl IssuerBuilder {
    /// Describes an issuer of this project, over gRPC. It takes a URL, which uses the machine's roots and
    /// [`IssuerBuilder::extra_roots_pem`], or an [`Endpoint`] with its own TLS configuration. It connects at
    /// first use. A keepalive and a connect timeout are set, to tell a dead connection from a slow issuer.
    #[must_use]
    pub fn grpc(address: impl Into<GrpcAddress>) -> Self {
        Self::new(Reach::Grpc(address.into()))
    }

    /// Describes an issuer of this project on a channel of the program's own. The program vouches for the
    /// channel's destination and safety, so it has to name the danger.
    #[must_use]
    pub fn grpc_channel(channel: Channel, _: danger::AllowPlaintext) -> Self {
        Self::new(Reach::Channel(channel))
    }

    /// Describes any OAuth server, by the URL of its token endpoint.
    #[must_use]
    #[cfg(feature = "http")]
    pub fn token_endpoint(url: impl Into<String>) -> Self {
        Self::new(Reach::TokenEndpoint(url.into()))
    }

    /// Describes any OAuth server, by its issuer identifier (RFC 8414, OpenID discovery).
    #[must_use]
    #[cfg(feature = "http")]
    pub fn discover(issuer: impl Into<String>) -> Self {
        Self::new(Reach::Discovery(issuer.into()))
    }

    fn new(reach: Reach) -> Self {
        Self {
            reach,
            tls: Tls::default(),
            clock: SystemClock::shared(),
            plaintext_allowed: false,
            #[cfg(feature = "http")]
            http: HttpSettings::default(),
        }
    }

    /// Replaces the default HTTP client, for other roots or limits.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn http_client(mut self, http_client: HttpClient) -> Self {
        self.http.client = Some(http_client);
        self
    }

    /// Trusts these certificates, as PEM, beside the machine's own roots. Not for an [`Endpoint`], a channel
    /// or an HTTP client of the program's own, which have their own roots. Of this and
    /// [`IssuerBuilder::tls_config`], the later call counts.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls = Tls::ExtraRoots(pem.into());
        self
    }

    /// Uses these TLS settings in place of the machine's roots: the program's own roots, client certificate
    /// and cryptography. Not for an [`Endpoint`], a channel or an HTTP client of the program's own.
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Tls::Own(config);
        self
    }

    /// Sets the parameter that names the audience to a token endpoint. Default: `audience`.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn audience_parameter(mut self, audience_parameter: AudienceParameter) -> Self {
        self.http.audience_parameter = audience_parameter;
        self
    }

    /// Sets the place of a secret. Default: as in the issuer's metadata, otherwise the header.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn secret_in(mut self, secret_in: SecretIn) -> Self {
        self.http.secret_in = Some(secret_in);
        self
    }

    /// Replaces the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Allows plaintext to any host; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn plaintext(mut self, _: danger::AllowPlaintext) -> Self {
        self.plaintext_allowed = true;
        self
    }

    pub(super) fn build(self) -> Result<IssuerTransport, SourceConfigError> {
        Ok(match self.reach.clone() {
            Reach::Channel(channel) => IssuerTransport::Grpc(GrpcIssuer::new(channel)),
            Reach::Grpc(address) => {
                IssuerTransport::Grpc(GrpcIssuer::new(address.connect(&self.tls, self.plaintext_allowed)?))
            }
            #[cfg(feature = "http")]
            Reach::TokenEndpoint(url) => {
                let url = parse(&url)?;
                IssuerTransport::Http(Box::new(self.http(&url, Place::Known(url.clone()))?))
            }
            #[cfg(feature = "http")]
            Reach::Discovery(identifier) => {
                let url = parse(&identifier)?;
                IssuerTransport::Http(Box::new(self.http(&url, Place::discovered(identifier, url.clone()))?))
            }
        })
    }

    #[cfg(feature = "http")]
    fn http(self, url: &HttpUrl, place: Place) -> Result<HttpIssuer, SourceConfigError> {
        let HttpSettings { client, audience_parameter, secret_in } = self.http;
        let client = match client {
            Some(client) => client,
            None => {
                let builder = HttpClient::builder().timeout(HTTP_MAX).tls(self.tls);
                let allowed = self.plaintext_allowed;
                let builder = if allowed { builder.plaintext(danger::AllowPlaintext) } else { builder };
                builder.build()?
            }
        };
        client.check(url)?;
        Ok(HttpIssuer { client, place, audience_parameter, secret_in, clock: self.clock })
    }
}

fn parse(url: &str) -> Result<HttpUrl, SourceConfigError> {
    HttpUrl::parse(url).map_err(|source| match may_hold_password(url) {
        true => HttpError::from(source).into(),
        false => SourceConfigError::UnusableUrl { url: url.to_owned(), source },
    })
}

/// The gRPC address of an issuer: a URL, or an [`Endpoint`] of the program's own.
#[derive(Clone, Debug)]
pub struct GrpcAddress(Address);

#[derive(Clone, Debug)]
enum Address {
    Url(String),
    Endpoint(Box<Endpoint>),
}

impl From<&str> for GrpcAddress {
    fn from(url: &str) -> Self {
        Self(Address::Url(url.to_owned()))
    }
}

impl From<String> for GrpcAddress {
    fn from(url: String) -> Self {
        Self(Address::Url(url))
    }
}

impl From<Endpoint> for GrpcAddress {
    fn from(endpoint: Endpoint) -> Self {
        Self(Address::Endpoint(Box::new(endpoint)))
    }
}

impl GrpcAddress {
    fn connect(self, tls: &Tls, plaintext_allowed: bool) -> Result<Channel, SourceConfigError> {
        let check = |uri: &::http::Uri| if plaintext_allowed { Ok(()) } else { Destination::of(uri) };
        match self.0 {
            Address::Endpoint(endpoint) => {
                check(endpoint.uri())?;
                Ok(connect_lazy(&kept_alive(*endpoint)))
            }
            Address::Url(url) => {
                let url = parse(&url)?;
                check(url.as_uri())?;
                Ok(connect_url_lazy(&url, tls, kept_alive)?)
            }
        }
    }
}

fn kept_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
}

/// The connection itself.
#[derive(Debug)]
pub(super) enum IssuerTransport {
    Grpc(GrpcIssuer),
    #[cfg(feature = "http")]
    Http(Box<HttpIssuer>),
}

impl fmt::Debug for IssuerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IssuerBuilder")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_not_sent_in_plaintext_to_anything_but_loopback() {
        let grpc = |url| IssuerBuilder::grpc(Endpoint::from_static(url));
        assert!(matches!(grpc("http://issuer.example").build(), Err(SourceConfigError::Plaintext(_))));
        assert!(grpc("http://127.0.0.1:1").build().is_ok());
        let by_url = |url: &str| IssuerBuilder::grpc(url).build();
        assert!(matches!(by_url("http://issuer.example"), Err(SourceConfigError::Plaintext(_))));
        assert!(matches!(by_url("https://user:pass@issuer.example"), Err(SourceConfigError::Http(_))));
        assert!(by_url("https://issuer.example/path").is_ok() && by_url("http://[::1]:1").is_ok());
        assert!(grpc("http://issuer.example").plaintext(danger::AllowPlaintext).build().is_ok());
        for reach in [IssuerBuilder::token_endpoint, IssuerBuilder::discover] {
            assert!(matches!(reach("http://issuer.example").build(), Err(SourceConfigError::Http(_))));
            assert!(reach("http://localhost:1/t").build().is_ok());
            assert!(reach("https://issuer.example").build().is_ok());
        }
    }

    #[test]
    fn what_is_not_a_url_is_named() {
        let error = IssuerBuilder::discover("issuer.example").build().unwrap_err();
        assert_eq!(error.to_string(), r#""issuer.example" is not a URL"#);
    }

    #[test]
    fn no_fault_of_a_url_quotes_its_password() {
        for url in [
            "https://user:secret@issuer.example",
            "user:secret@issuer.example",
            "https:/user:secret@issuer.example",
            "https://user:secret/part@issuer.example",
            "ftp://user:secret@issuer.example",
        ] {
            for reach in [IssuerBuilder::token_endpoint, IssuerBuilder::discover, |url: &str| IssuerBuilder::grpc(url)]
            {
                let error = reach(url).build().unwrap_err();
                let shown = format!("{error} {error:?} {}", crate::error_chain::of(&error));
                assert!(!shown.contains("secret"), "{url}: {shown}");
            }
        }
    }
}
