//! The client itself: its settings, its bounds, and its requests.

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{self, Client, connect::Connect},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;
use secrecy::SecretString;

use super::{
    TIMEOUT, addresses,
    connector::Connector,
    endpoint::Tls,
    error::{HttpError, Kind},
    proxy::Proxies,
    tls::{self, ClientCertificate},
};
use crate::{
    danger,
    http_url::{Host, HttpUrl},
    trace_context,
};

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
    tls: Tls,
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
            tls: Tls::default(),
            client_certificate: None,
            proxies: Proxies::read(|name| std::env::var(name).ok()),
        }
    }

    /// Checks that this client may send to `url`: `https`, or `http` where plaintext is allowed.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is plaintext to a host that is not loopback, and plaintext was not
    /// allowed. Also if the host is a forbidden address.
    pub fn check(&self, url: &HttpUrl) -> Result<(), HttpError> {
        if self.public_only && is_inside(url.typed_host()) {
            return Err(Kind::AddressRefused.into());
        }
        if url.is_https() || self.plaintext_allowed || url.is_loopback() {
            return Ok(());
        }
        Err(Kind::PlaintextRefused.into())
    }

    /// Fetches the JWK Set at `url`, with `headers` beside this client's own. Some servers offer it only
    /// under its own media type (RFC 7517 section 8.5.1).
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn get_key_set(&self, url: &HttpUrl, mut headers: HeaderMap) -> Result<HttpResponse, HttpError> {
        headers.insert(ACCEPT, HeaderValue::from_static(KEY_SET));
        self.get_with(url, headers).await
    }

    /// Fetches `url` and asks for JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the URL is refused ([`HttpClient::check`]), no answer came in time, or the body is
    /// too large. An answer with an error status is not an error.
    pub async fn get(&self, url: &HttpUrl) -> Result<HttpResponse, HttpError> {
        self.get_with(url, HeaderMap::new()).await
    }

    /// Fetches `url` with `headers` beside this client's own. Asks for JSON, unless `headers` have an
    /// `accept`.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn get_with(&self, url: &HttpUrl, headers: HeaderMap) -> Result<HttpResponse, HttpError> {
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
        url: &HttpUrl,
        fields: &[(&str, &str)],
        authorization: Option<HeaderValue>,
    ) -> Result<HttpResponse, HttpError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.exchange(url, post("application/x-www-form-urlencoded", body.into(), authorization)).await
    }

    /// Posts `body`, which must be JSON.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::get`].
    pub async fn post_json(
        &self,
        url: &HttpUrl,
        body: Vec<u8>,
        authorization: Option<HeaderValue>,
    ) -> Result<HttpResponse, HttpError> {
        self.exchange(url, post("application/json", body.into(), authorization)).await
    }

    async fn exchange(&self, url: &HttpUrl, mut request: Request<Full<Bytes>>) -> Result<HttpResponse, HttpError> {
        self.check(url)?;
        request.uri_mut().clone_from(url.as_uri());
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

    /// Trusts these certificates, as PEM, beside the machine's own roots. Of this and
    /// [`HttpClientBuilder::tls_config`], the later call counts.
    #[must_use]
    pub fn extra_roots_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.tls = Tls::ExtraRoots(pem.into());
        self
    }

    /// Uses these TLS settings in place of the machine's roots: the program's own roots, client certificate
    /// and cryptography.
    #[must_use]
    pub fn tls_config(mut self, config: Arc<ClientConfig>) -> Self {
        self.tls = Tls::Own(config);
        self
    }

    pub(crate) fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
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
    /// match its key. Also if there is no TLS provider, or a client certificate beside
    /// [`HttpClientBuilder::tls_config`].
    pub fn build(self) -> Result<HttpClient, HttpError> {
        let config = match (&self.tls, &self.client_certificate) {
            (tls, None) => tls.config()?,
            (Tls::Machine, Some(shown)) => tls::config_of_client(b"", shown)?,
            (Tls::ExtraRoots(pem), Some(shown)) => tls::config_of_client(pem, shown)?,
            (Tls::Own(_), Some(_)) => return Err(Kind::TwoTlsSettings.into()),
        };
        let tcp = Connector::new(self.proxies.clone(), Some(config.clone()), self.public_only);
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_all_versions();
        Ok(self.build_on(connector.wrap_connector(tcp)))
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
fn is_inside(host: &Host) -> bool {
    match host {
        Host::Name(_) => false,
        Host::Address(address) => !addresses::is_public(*address),
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
