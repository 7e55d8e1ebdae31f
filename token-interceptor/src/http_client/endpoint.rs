//! gRPC endpoints with the roots and proxies of this machine.

use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use url::Url;

use super::{HttpError, connector::Connector, error::Kind, proxy::Proxies, tls};

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
/// # Errors
///
/// Returns an error if `url` is not an `http` or `https` URL, or the extra roots are not certificates in PEM.
pub fn grpc_endpoint(url: &str, extra_roots_pem: &[u8]) -> Result<Endpoint, HttpError> {
    let url = Url::parse(url).map_err(|_| Kind::UnusableUrl)?;
    let host = url.host().ok_or(Kind::UnusableUrl)?;
    let port = url.port_or_known_default().ok_or(Kind::UnusableUrl)?;
    if !url.username().is_empty() || url.password().is_some() || !matches!(url.scheme(), "http" | "https") {
        return Err(Kind::UnusableUrl.into());
    }
    let endpoint = Endpoint::from_shared(format!("{}://{host}:{port}", url.scheme()));
    let endpoint = endpoint.map_err(|_| Kind::UnusableUrl)?.tcp_nodelay(true);
    if url.scheme() == "http" {
        return Ok(endpoint);
    }
    let roots = tls::roots(extra_roots_pem)?;
    let tls = ClientTlsConfig::new().trust_anchors(roots.roots);
    Ok(endpoint.tls_config(tls).map_err(|_| Kind::UnusableRoots)?)
}

/// Returns a channel to `endpoint` that connects at first use, through the environment's proxy.
pub(crate) fn connect_lazy(endpoint: &Endpoint) -> Channel {
    let proxies = Proxies::read(|name| std::env::var(name).ok());
    if proxies.of(endpoint.uri()).is_none() {
        return endpoint.connect_lazy();
    }
    match tls::config(b"", None) {
        Ok(tls) => endpoint.connect_with_connector_lazy(Connector::new(proxies, tls, false)),
        // Cannot fail: there are no extra roots and no certificate.
        Err(_) => endpoint.connect_lazy(),
    }
}
