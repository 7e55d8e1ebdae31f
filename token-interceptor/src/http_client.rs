//! The HTTP client for key sets, discovery documents and token endpoints: bounded in time and size, no
//! redirects.
//!
//! It uses HTTPS, unless the host is loopback or [`danger::AllowPlaintext`] was named. An attacker on the
//! network path can replace keys that are fetched in plaintext. A redirect is returned to the caller and
//! never followed: the server does not choose the hosts that this process connects to. The environment names
//! the proxies: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.

mod addresses;
mod connector;
mod endpoint;
mod error;
mod proxy;
mod tls;
mod untrusted;

use std::{fmt, future::Future, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client, connect::Connect},
    rt::{TokioExecutor, TokioTimer},
};
use secrecy::SecretString;
use url::{Host, Url};

pub(crate) use endpoint::connect_lazy;
pub use endpoint::grpc_endpoint;
pub use error::HttpError;
pub(crate) use untrusted::OVER_GRPC;
pub use untrusted::is_of_unknown_ca;

use crate::{danger, trace_context};
use connector::Connector;
use error::Kind;
use proxy::Proxies;
use tls::ClientCertificate;

/// The default for the longest wait for an answer and its body.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The default for the largest body that is read, in bytes: hundreds of keys fit.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// The largest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The time for which idle connections are kept.
const POOL_IDLE: Duration = Duration::from_secs(60);

/// Prefers JSON, but accepts any type: some servers label JSON differently.
const JSON: &str = "application/json, */*;q=0.1";
const KEY_SET: &str = "application/jwk-set+json, application/json;q=0.9, */*;q=0.1";

type Exchange = Pin<Box<dyn Future<Output = Result<Response<Incoming>, legacy::Error>> + Send>>;
type Sender = dyn Fn(Request<Full<Bytes>>) -> Exchange + Send + Sync;

/// A bounded HTTP client. Clones share its connections.
#[derive(Clone)]
pub struct HttpClient {
    send: Arc<Sender>,
    timeout: Duration,
    body_bytes_max: usize,
    plaintext_allowed: bool,
    public_only: bool,
}

/// Settings for an [`HttpClient`].
#[derive(Clone, Debug)]
pub struct HttpClientBuilder {
    timeout: Duration,
    body_bytes_max: usize,
    plaintext_allowed: bool,
    public_only: bool,
    extra_roots_pem: Vec<u8>,
    client_certificate: Option<ClientCertificate>,
    proxies: Proxies,
}

/// A complete answer.
#[derive(Clone)]
pub struct HttpResponse {
    /// The status. Redirects are returned too.
    pub status: StatusCode,
    /// The header fields.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl HttpClient {
    /// Returns settings with 5 seconds per request, 256 KiB per body, the machine's trusted roots, and no
    /// plaintext.
    #[must_use]
    pub fn builder() -> HttpClientBuilder {
        HttpClientBuilder {
            timeout: TIMEOUT,
            body_bytes_max: BODY_BYTES_MAX,
            plaintext_allowed: false,
            public_only: false,
            extra_roots_pem: Vec::new(),
            client_certificate: None,
            proxies: Proxies::read(|name| std::env::var(name).ok()),
        }
    }

    /// Checks that this client may send to `url`: `https`, or `http` where plaintext is allowed.
    ///
    /// # Errors
    ///
    /// Returns an error if the scheme is not `http` or `https`, there is no host, or the URL carries user
    /// information. Also if it is plaintext to a host that is not loopback and was not allowed. Also if the
    /// host is a forbidden address.
    pub fn check(&self, url: &Url) -> Result<(), HttpError> {
        let host = url.host().ok_or(Kind::UnusableUrl)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Kind::UnusableUrl.into());
        }
        if self.public_only && is_inside(&host) {
            return Err(Kind::AddressRefused.into());
        }
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.plaintext_allowed || is_loopback(&host) => Ok(()),
            "http" => Err(Kind::PlaintextRefused.into()),
            _ => Err(Kind::UnusableUrl.into()),
        }
    }

    /// Fetches the JWK Set at `url`, with `headers` beside this client's own. Some servers offer it only
    /// under its own media type (RFC 7517 section 8.5.1).
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn get_key_set(&self, url: &Url, mut headers: HeaderMap) -> Result<HttpResponse, HttpError> {
        headers.insert(ACCEPT, HeaderValue::from_static(KEY_SET));
        self.get_with(url, headers).await
    }

    /// Fetches `url` and asks for JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is refused ([`HttpClient::check`]), no answer came in time, or the body is
    /// too large. An answer with an error status is not an error.
    pub async fn get(&self, url: &Url) -> Result<HttpResponse, HttpError> {
        self.get_with(url, HeaderMap::new()).await
    }

    /// Fetches `url` with `headers` beside this client's own. Asks for JSON, unless `headers` have an
    /// `accept`.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn get_with(&self, url: &Url, headers: HeaderMap) -> Result<HttpResponse, HttpError> {
        let mut request = Request::new(Full::default());
        *request.headers_mut() = headers;
        self.exchange(url, request).await
    }

    /// Posts `fields` as a form (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn post_form(
        &self,
        url: &Url,
        fields: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<HttpResponse, HttpError> {
        let body = serde_urlencoded::to_string(fields).map_err(|_| Kind::UnusableRequest)?;
        self.exchange(url, post("application/x-www-form-urlencoded", body.into(), authorization)).await
    }

    /// Posts `body`, which must be JSON.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn post_json(
        &self,
        url: &Url,
        body: Vec<u8>,
        authorization: Option<HeaderValue>,
    ) -> Result<HttpResponse, HttpError> {
        self.exchange(url, post("application/json", body.into(), authorization)).await
    }

    async fn exchange(&self, url: &Url, mut request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError> {
        self.check(url)?;
        *request.uri_mut() = url.as_str().parse::<Uri>().map_err(|_| Kind::UnusableUrl)?;
        request.headers_mut().entry(ACCEPT).or_insert(HeaderValue::from_static(JSON));
        trace_context::inject(request.headers_mut());
        tokio::time::timeout(self.timeout, self.complete(request)).await.map_err(|_| Kind::TimedOut)?
    }

    async fn complete(&self, request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError> {
        let (head, body) = (self.send)(request).await.map_err(Kind::Exchange)?.into_parts();
        let body = Limited::new(body, self.body_bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Kind::BodyTooLarge } else { Kind::BodyBroken(error) }
        })?;
        Ok(HttpResponse { status: head.status, headers: head.headers, body: body.to_bytes() })
    }
}

impl HttpClientBuilder {
    /// Sets the longest wait for an answer and its whole body.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the largest body that is read, in bytes.
    #[must_use]
    pub fn body_bytes_max(mut self, body_bytes_max: usize) -> Self {
        self.body_bytes_max = body_bytes_max;
        self
    }

    /// Trusts these certificates, as PEM, beside the machine's own roots.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.extra_roots_pem = pem.into();
        self
    }

    /// Presents a certificate to servers that ask for one (mutual TLS). Takes the chain as PEM, leaf first,
    /// and its private key as PEM.
    #[must_use]
    pub fn client_certificate(mut self, chain_pem: impl Into<Vec<u8>>, private_key_pem: SecretString) -> Self {
        self.client_certificate = Some(ClientCertificate { chain_pem: chain_pem.into(), private_key_pem });
        self
    }

    /// Takes the proxies from these variables instead of the environment's: `HTTPS_PROXY`, `HTTP_PROXY`,
    /// `ALL_PROXY` and `NO_PROXY`, in lower or upper case. If `variable` knows none of them, there is no
    /// proxy.
    ///
    /// Every connection goes through the proxy by CONNECT. This machine itself is reached directly.
    #[must_use]
    pub fn proxies_from(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        self.proxies = Proxies::read(variable);
        self
    }

    /// Allows plaintext `http` to any host; see [`danger::AllowPlaintext`].
    #[must_use]
    pub fn plaintext(mut self, _: danger::AllowPlaintext) -> Self {
        self.plaintext_allowed = true;
        self
    }

    /// Connects only to public Internet addresses: for URLs from other parties, which could lead to internal
    /// services. With a proxy, names are resolved here and the proxy gets the address: it could reach
    /// internal services too. Not for [`HttpClientBuilder::build_on`].
    #[must_use]
    pub fn public_addresses_only(mut self) -> Self {
        self.public_only = true;
        self
    }

    /// Builds the client without connecting it.
    ///
    /// # Errors
    ///
    /// Returns an error if the extra roots are not certificates in PEM, or the client certificate does not
    /// match its key.
    pub fn build(self) -> Result<HttpClient, HttpError> {
        let config = tls::config(&self.extra_roots_pem, self.client_certificate.as_ref())?;
        let connector = Connector::new(self.proxies.clone(), config.clone(), self.public_only);
        let connector = tls::connector(config, connector);
        Ok(self.build_on(connector))
    }

    /// Builds the client on the caller's connector, instead of TCP and TLS: for simulated networks, sockets
    /// in the file system, proxies. The connector then chooses its targets and the certificates that it
    /// trusts.
    #[must_use]
    pub fn build_on<C>(self, connector: C) -> HttpClient
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let client: Client<C, Full<Bytes>> = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(4)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .http2_max_header_list_size(HEAD_BYTES_MAX as u32)
            .build(connector);
        HttpClient {
            send: Arc::new(move |request| Box::pin(client.request(request))),
            timeout: self.timeout,
            body_bytes_max: self.body_bytes_max,
            plaintext_allowed: self.plaintext_allowed,
            public_only: self.public_only,
        }
    }
}

/// Returns true for an address that is not public. A name is checked once it has been resolved.
fn is_inside(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(_) => false,
        Host::Ipv4(address) => !addresses::is_public(IpAddr::V4(*address)),
        Host::Ipv6(address) => !addresses::is_public(IpAddr::V6(*address)),
    }
}

fn post(content_type: &'static str, body: Bytes, authorization: Option<HeaderValue>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    request
}

/// `localhost`, 127.0.0.0/8, or ::1.
#[must_use]
pub fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => name.eq_ignore_ascii_case("localhost"),
        Host::Ipv4(address) => IpAddr::V4(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient")
            .field("timeout", &self.timeout)
            .field("body_bytes_max", &self.body_bytes_max)
            .field("plaintext_allowed", &self.plaintext_allowed)
            .finish_non_exhaustive()
    }
}

/// The body may be a token response, so it is not printed.
impl fmt::Debug for HttpResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponse")
            .field("status", &self.status)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
