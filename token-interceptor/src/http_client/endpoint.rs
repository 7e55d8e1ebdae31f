//! gRPC endpoints with the roots and proxies of this machine.

use std::{fmt, sync::Arc};

use http::{Uri, uri::Scheme};
use hyper_rustls::HttpsConnectorBuilder;
use rustls::ClientConfig;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt as _;

use super::{HttpError, connector::Connector, error::Kind, proxy::Proxies, tls};
use crate::http_url::HttpUrl;

/// Returns a gRPC endpoint that trusts this machine's roots, and the certificates in `extra_roots_pem`.
///
/// An endpoint made by tonic alone trusts only the roots in its `ClientTlsConfig`, which may be none. Only
/// scheme, host and port of `url` are used: gRPC is at the host's root.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let endpoint = token_interceptor::http_client::grpc_endpoint("https://inventory.example", b"")?;
/// # Ok(()) }
/// ```
///
/// tonic chooses the TLS provider: the one that the program installed, or else that of the features `ring`
/// and `aws-lc`, in this order.
///
/// # Errors
///
/// Returns an error if `url` is not an `http` or `https` URL, or the extra roots are not certificates in PEM.
#[cfg(any(feature = "ring", feature = "aws-lc"))]
pub fn grpc_endpoint(url: &str, extra_roots_pem: &[u8]) -> Result<Endpoint, HttpError> {
    use tonic::transport::ClientTlsConfig;

    let url = HttpUrl::parse(url).map_err(Kind::UnusableUrl)?;
    let endpoint = endpoint(&url)?;
    if !url.is_https() {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new().trust_anchors(tls::roots(extra_roots_pem)?.roots);
    Ok(endpoint.tls_config(tls).map_err(|_| Kind::UnusableRoots)?)
}

fn endpoint(url: &HttpUrl) -> Result<Endpoint, Kind> {
    Ok(Endpoint::from(url.root().map_err(Kind::UnusableUrl)?).tcp_nodelay(true))
}

/// Connects to `endpoint`, through the environment's proxy. tonic's own `Endpoint::connect` knows no proxies.
///
/// # Errors
///
/// Returns an error if the proxy or the server cannot be reached.
pub async fn connect(endpoint: &Endpoint) -> Result<Channel, tonic::transport::Error> {
    let proxies = Proxies::read(|name| std::env::var(name).ok());
    if proxies.of(endpoint.uri()).is_none() {
        return endpoint.connect().await;
    }
    endpoint.connect_with_connector(Connector::new(proxies, tls::config(b"").ok(), false)).await
}

/// Returns a channel to `endpoint` that connects at first use, through the environment's proxy.
pub(crate) fn connect_lazy(endpoint: &Endpoint) -> Channel {
    let proxies = Proxies::read(|name| std::env::var(name).ok());
    if proxies.of(endpoint.uri()).is_none() {
        return endpoint.connect_lazy();
    }
    // Without TLS, a proxy that is itself an `https` URL is an error of each connection.
    endpoint.connect_with_connector_lazy(Connector::new(proxies, tls::config(b"").ok(), false))
}

/// The TLS settings of connections to one issuer.
#[derive(Clone, Default)]
pub(crate) enum Tls {
    /// The machine's roots.
    #[default]
    Machine,
    /// The machine's roots, and these in PEM.
    ExtraRoots(Vec<u8>),
    /// The program's own.
    Own(Arc<ClientConfig>),
}

impl Tls {
    /// Returns the settings without protocols for ALPN: the connectors set those that they speak.
    pub(super) fn config(&self) -> Result<ClientConfig, Kind> {
        match self {
            Self::Machine => tls::config(b""),
            Self::ExtraRoots(pem) => tls::config(pem),
            Self::Own(config) => {
                let mut config = ClientConfig::clone(config);
                config.alpn_protocols.clear();
                Ok(config)
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "Machine",
            Self::ExtraRoots(_) => "ExtraRoots",
            Self::Own(_) => "Own",
        })
    }
}

/// Returns a channel to the gRPC server at `url` that connects at first use, through the environment's proxy.
/// `set` makes the settings of the endpoint.
pub(crate) fn connect_url_lazy(
    url: &HttpUrl,
    tls: &Tls,
    set: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, HttpError> {
    if !url.is_https() {
        return Ok(connect_lazy(&set(endpoint(url)?)));
    }
    let proxies = Proxies::read(|name| std::env::var(name).ok());
    Ok(connect_tls_lazy(url, tls.config()?, proxies, set)?)
}

/// The connector does TLS, so that the program chooses its provider and its settings. For tonic the
/// connection is plaintext; calls name the URL itself.
fn connect_tls_lazy(
    url: &HttpUrl,
    config: ClientConfig,
    proxies: Proxies,
    set: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, Kind> {
    let root = url.root().map_err(Kind::UnusableUrl)?;
    let plaintext = url.with_scheme(Scheme::HTTP).map_err(Kind::UnusableUrl)?;
    let tcp = Connector::new(proxies, Some(config.clone()), false);
    let connector =
        HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http2().wrap_connector(tcp);
    let target = root.clone();
    let connector = connector.map_request(move |_: Uri| target.clone());
    Ok(set(Endpoint::from(plaintext).tcp_nodelay(true)).origin(root).connect_with_connector_lazy(connector))
}
