//! Connections: directly over TCP, or through a proxy by CONNECT (RFC 9110 section 9.3.6).

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    TIMEOUT,
    addresses::Resolver,
    proxy::{Address, Proxies, Proxy},
};
use crate::http_url::Host;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::Name},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tower::{BoxError, Service, ServiceExt as _};

/// The largest head of a proxy's answer, in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;

type Tcp = TokioIo<TcpStream>;
type Connecting = Pin<Box<dyn Future<Output = Result<MaybeHttpsStream<Tcp>, BoxError>> + Send>>;

/// A connector that follows the environment's proxies.
#[derive(Clone)]
pub(super) struct Connector {
    direct: HttpConnector<Resolver>,
    /// A proxy may be at any address, even if its targets may not. `None`: there is no TLS for connections to
    /// a proxy that is an `https` URL.
    to_proxy: Option<HttpsConnector<HttpConnector<Resolver>>>,
    to_plain_proxy: HttpConnector<Resolver>,
    proxies: Arc<Proxies>,
    resolver: Resolver,
    public_only: bool,
}

impl Connector {
    /// `tls` is for connections to a proxy that is itself an `https` URL.
    pub(super) fn new(proxies: Proxies, tls: Option<ClientConfig>, public_only: bool) -> Self {
        let (resolver, to_plain_proxy) = (Resolver::new(public_only), tcp(Resolver::new(false), TIMEOUT));
        let to_proxy = tls.map(|tls| {
            let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_only().enable_http1();
            connector.wrap_connector(to_plain_proxy.clone())
        });
        Self {
            direct: tcp(resolver.clone(), TIMEOUT),
            to_proxy,
            to_plain_proxy,
            proxies: Arc::new(proxies),
            resolver,
            public_only,
        }
    }

    /// Connects to the proxy itself.
    fn connect_to(&self, proxy: &Address) -> Connecting {
        let (uri, tls) = (proxy.uri.clone(), self.to_proxy.clone());
        if uri.scheme() == Some(&Scheme::HTTPS) {
            return Box::pin(
                async move { tls.ok_or("the proxy is an https URL, and TLS is off here")?.oneshot(uri).await },
            );
        }
        let connector = self.to_plain_proxy.clone();
        Box::pin(async move { Ok(MaybeHttpsStream::Http(connector.oneshot(uri).await?)) })
    }

    /// Returns the target for the proxy. If only public addresses are allowed, it is one that the name
    /// resolves to here: the proxy could resolve the name to an internal address.
    async fn target(mut resolver: Resolver, public_only: bool, uri: &Uri) -> Result<String, BoxError> {
        let host = uri.host().ok_or("the URL has no host")?;
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        let parsed = Host::parse(host).ok_or("the URL's host is neither a DNS name nor an IP address")?;
        if !public_only || matches!(parsed, Host::Address(_)) {
            return Ok(format!("{host}:{port}"));
        }
        let addresses = resolver.ready().await?.call(host.parse::<Name>()?).await?;
        let address = addresses.into_iter().next().ok_or("the name resolves to no address")?.ip();
        Ok(std::net::SocketAddr::new(address, port).to_string())
    }
}

fn tcp(resolver: Resolver, timeout: Duration) -> HttpConnector<Resolver> {
    let mut tcp = HttpConnector::new_with_resolver(resolver);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(timeout));
    tcp
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Tcp>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Connecting {
        let proxy = match self.proxies.of(&uri) {
            None => {
                let direct = self.direct.call(uri);
                return Box::pin(async move { Ok(MaybeHttpsStream::Http(direct.await?)) });
            }
            Some(Proxy::Usable(proxy)) => proxy.clone(),
            Some(Proxy::Unusable) => {
                return Box::pin(async { Err("the proxy that the environment names is no http or https URL".into()) });
            }
        };
        let Self { resolver, public_only, .. } = self.clone();
        let connecting = self.connect_to(&proxy);
        Box::pin(async move {
            let through = async {
                let target = Self::target(resolver, public_only, &uri).await?;
                tunnel(connecting.await?, proxy, &target).await
            };
            tokio::time::timeout(TIMEOUT, through).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        })
    }
}

/// Asks the proxy at the other end of `stream` to connect to `target`.
async fn tunnel(
    stream: MaybeHttpsStream<Tcp>,
    proxy: Address,
    target: &str,
) -> Result<MaybeHttpsStream<Tcp>, BoxError> {
    let mut stream = TokioIo::new(stream);
    stream.write_all(&connect(target, proxy.authorization.as_ref())).await?;
    stream.flush().await?;
    let status = status(&head(&mut stream).await?).ok_or("the proxy's answer is not HTTP")?;
    if !(200..300).contains(&status) {
        return Err(format!("the proxy answers CONNECT with status {status}").into());
    }
    Ok(stream.into_inner())
}

fn connect(target: &str, authorization: Option<&HeaderValue>) -> Vec<u8> {
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(authorization.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Reads only the head: what follows belongs to the target.
async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head of the proxy's answer is too large"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split(' ');
    words.next()?;
    words.next()?.parse().ok()
}
