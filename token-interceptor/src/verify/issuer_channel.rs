//! The gRPC connection to a token server.

use std::time::Duration;

use http::Uri;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

use crate::{
    danger,
    destination::Destination,
    http_client::{Tls, connect_lazy, connect_url_lazy},
    http_url::HttpUrl,
};

/// The keepalive interval and timeout. A dead connection is noticed after both, and replaced.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A token server over gRPC. A URL gets a keepalive, and over TLS the machine's roots, which `SSL_CERT_FILE`
/// may replace. So does an [`Endpoint`], with its own TLS settings. A [`Channel`] of the program's own is
/// used unchanged.
#[derive(Clone, Debug)]
pub struct IssuerChannel(Reach);

#[derive(Clone, Debug)]
enum Reach {
    Url(String),
    Endpoint(Box<Endpoint>),
    Channel(Channel),
}

impl From<&str> for IssuerChannel {
    fn from(url: &str) -> Self {
        Self(Reach::Url(url.to_owned()))
    }
}

impl From<Endpoint> for IssuerChannel {
    fn from(endpoint: Endpoint) -> Self {
        Self(Reach::Endpoint(Box::new(endpoint)))
    }
}

impl From<String> for IssuerChannel {
    fn from(url: String) -> Self {
        Self(Reach::Url(url))
    }
}

impl IssuerChannel {
    /// Takes a channel of the program's own, whose destination and safety the program vouches for. Keys that
    /// come in plaintext from another machine may be an attacker's, so the program has to name the danger.
    #[must_use]
    pub fn of_channel(channel: Channel, _: danger::AllowPlaintext) -> Self {
        Self(Reach::Channel(channel))
    }

    /// Creates the channel without connecting it. A URL gets the settings `tls`. The error says what is wrong
    /// with the endpoint.
    pub(super) fn connect(&self, plaintext: Option<danger::AllowPlaintext>, tls: &Tls) -> Result<Channel, String> {
        match &self.0 {
            Reach::Channel(channel) => Ok(channel.clone()),
            Reach::Endpoint(endpoint) => {
                check(endpoint.uri(), plaintext)?;
                Ok(connect_lazy(&kept_alive(Endpoint::clone(endpoint))))
            }
            Reach::Url(url) => {
                let url = HttpUrl::parse(url).map_err(|error| format!("the server's URL cannot be used: {error}"))?;
                check(url.as_uri(), plaintext)?;
                connect_url_lazy(&url, tls, kept_alive).map_err(|error| error.to_string())
            }
        }
    }
}

fn check(uri: &Uri, plaintext: Option<danger::AllowPlaintext>) -> Result<(), String> {
    if plaintext.is_none() {
        Destination::of(uri).map_err(|refused| refused.to_string())?;
    }
    match Handle::try_current() {
        Ok(_) => Ok(()),
        Err(_) => Err("an endpoint can be connected to only within a Tokio runtime".to_owned()),
    }
}

fn kept_alive(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(KEEP_ALIVE_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
}
