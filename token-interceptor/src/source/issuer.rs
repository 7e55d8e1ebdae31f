//! The connection to an issuer: over gRPC, or to an OAuth token endpoint.

use std::{fmt, sync::Arc, time::Duration};

use tonic::transport::{Channel, Endpoint};
use url::Url;

use super::{
    credential::SecretIn,
    grpc::GrpcIssuer,
    http::{AudienceParameter, HttpIssuer, Place},
};
use crate::{
    clock::{Clock, SystemClock},
    danger,
    destination::{Destination, PlaintextRefused},
    http_client::{HttpClient, HttpError, connect_lazy, grpc_endpoint},
};

/// The keepalive interval. A connection that answers no ping is dead; a slow server still answers pings.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest HTTP exchange. HTTP/1.1 has no pings, so a dead connection goes unnoticed for this long. The
/// limit on an attempt to get a token is slightly shorter.
const HTTP_MAX: Duration = Duration::from_secs(31);

/// A description of an issuer and its connection.
#[derive(Clone)]
pub struct IssuerBuilder {
    reach: Reach,
    http_client: Option<HttpClient>,
    extra_roots_pem: Vec<u8>,
    audience_parameter: AudienceParameter,
    secret_in: Option<SecretIn>,
    clock: Arc<dyn Clock>,
    plaintext_allowed: bool,
}

#[derive(Clone)]
enum Reach {
    Grpc(GrpcAddress),
    Channel(Channel),
    TokenEndpoint(String),
    Discovery(String),
}

/// The error of an issuer's description that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceConfigError {
    /// It is not a URL.
    #[error("{url:?} is not a URL")]
    UnusableUrl {
        /// The URL as it was given.
        url: String,
        /// The parse error.
        source: url::ParseError,
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
    pub fn token_endpoint(url: impl Into<String>) -> Self {
        Self::new(Reach::TokenEndpoint(url.into()))
    }

    /// Describes any OAuth server, by its issuer identifier (RFC 8414, OpenID discovery).
    #[must_use]
    pub fn discover(issuer: impl Into<String>) -> Self {
        Self::new(Reach::Discovery(issuer.into()))
    }

    fn new(reach: Reach) -> Self {
        Self {
            reach,
            http_client: None,
            extra_roots_pem: Vec::new(),
            audience_parameter: AudienceParameter::default(),
            secret_in: None,
            clock: SystemClock::shared(),
            plaintext_allowed: false,
        }
    }

    /// Replaces the default HTTP client, for other roots or limits.
    #[must_use]
    pub fn http_client(mut self, http_client: HttpClient) -> Self {
        self.http_client = Some(http_client);
        self
    }

    /// Trusts these certificates, as PEM, beside the machine's own roots. Not for an [`Endpoint`], a channel
    /// or an HTTP client of the program's own, which have their own roots.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots_pem = pem.into();
        self
    }

    /// Sets the parameter that names the audience to a token endpoint. Default: `audience`.
    #[must_use]
    pub fn audience_parameter(mut self, audience_parameter: AudienceParameter) -> Self {
        self.audience_parameter = audience_parameter;
        self
    }

    /// Sets the place of a secret. Default: as in the issuer's metadata, otherwise the header.
    #[must_use]
    pub fn secret_in(mut self, secret_in: SecretIn) -> Self {
        self.secret_in = Some(secret_in);
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
                let endpoint = address.endpoint(&self.extra_roots_pem)?;
                if !self.plaintext_allowed {
                    Destination::of(endpoint.uri())?;
                }
                IssuerTransport::Grpc(GrpcIssuer::new(connect_lazy(&endpoint)))
            }
            Reach::TokenEndpoint(url) => {
                let url = parse(&url)?;
                IssuerTransport::Http(Box::new(self.http(&url, Place::Known(url.clone()))?))
            }
            Reach::Discovery(identifier) => {
                let url = parse(&identifier)?;
                IssuerTransport::Http(Box::new(self.http(&url, Place::discovered(identifier, url.clone()))?))
            }
        })
    }

    fn http(self, url: &Url, place: Place) -> Result<HttpIssuer, SourceConfigError> {
        let client = match self.http_client {
            Some(client) => client,
            None => {
                let builder = HttpClient::builder().timeout(HTTP_MAX).extra_roots_pem(self.extra_roots_pem);
                let allowed = self.plaintext_allowed;
                let builder = if allowed { builder.plaintext(danger::AllowPlaintext) } else { builder };
                builder.build()?
            }
        };
        client.check(url)?;
        Ok(HttpIssuer {
            client,
            place,
            audience_parameter: self.audience_parameter,
            secret_in: self.secret_in,
            clock: self.clock,
        })
    }
}

fn parse(url: &str) -> Result<Url, SourceConfigError> {
    Url::parse(url).map_err(|source| SourceConfigError::UnusableUrl { url: url.to_owned(), source })
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
    fn endpoint(self, extra_roots_pem: &[u8]) -> Result<Endpoint, SourceConfigError> {
        let endpoint = match self.0 {
            Address::Endpoint(endpoint) => *endpoint,
            Address::Url(url) => {
                parse(&url)?;
                grpc_endpoint(&url, extra_roots_pem)?
            }
        };
        Ok(endpoint
            .connect_timeout(CONNECT_MAX)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT))
    }
}

/// The connection itself.
#[derive(Debug)]
pub(super) enum IssuerTransport {
    Grpc(GrpcIssuer),
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
}
