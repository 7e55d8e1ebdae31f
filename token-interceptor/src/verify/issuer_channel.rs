//! How a token server is reached over gRPC.

use std::time::Duration;

use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

use crate::{danger, destination::Destination};

/// A connection whose other end is gone is noticed after these two, and made anew.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A token server over gRPC: an [`Endpoint`], which is connected to with a keepalive, over TLS or to loopback
/// alone; or a [`Channel`] of the program's own, which decides all that for itself.
#[derive(Clone, Debug)]
pub struct IssuerChannel(Reach);

#[derive(Clone, Debug)]
enum Reach {
    Endpoint(Box<Endpoint>),
    Channel(Channel),
}

impl From<Endpoint> for IssuerChannel {
    fn from(endpoint: Endpoint) -> Self {
        Self(Reach::Endpoint(Box::new(endpoint)))
    }
}

impl From<Channel> for IssuerChannel {
    fn from(channel: Channel) -> Self {
        Self(Reach::Channel(channel))
    }
}

impl IssuerChannel {
    /// Nothing is connected yet. The error is what is wrong with the endpoint.
    pub(super) fn connect(&self, plaintext: Option<danger::AllowPlaintext>) -> Result<Channel, String> {
        let endpoint = match &self.0 {
            Reach::Channel(channel) => return Ok(channel.clone()),
            Reach::Endpoint(endpoint) => endpoint,
        };
        if plaintext.is_none() {
            Destination::of(endpoint.uri()).map_err(|refused| refused.to_string())?;
        }
        if Handle::try_current().is_err() {
            return Err("an endpoint can be connected to only within a Tokio runtime".to_owned());
        }
        let endpoint = Endpoint::clone(endpoint)
            .connect_timeout(KEEP_ALIVE_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    }
}
