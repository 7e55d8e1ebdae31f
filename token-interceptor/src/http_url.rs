//! `http` and `https` URLs, and the hosts in them. RFC 9110 section 4.2, RFC 3986.
//!
//! A URL is read strictly and used as it is written. A host that is neither a DNS name in ASCII nor an
//! address in its usual form is an error. So a resolver cannot read a host otherwise than a check here did.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::{
    Uri,
    uri::{Parts, PathAndQuery, Scheme},
};

/// The URL of a resource over HTTP or HTTPS: absolute, with a host, without user information and without a
/// fragment.
///
/// ```
/// use token_interceptor::http_url::HttpUrl;
///
/// let url: HttpUrl = "https://issuer.example/tenant?v=2".parse()?;
/// assert_eq!((url.host(), url.port(), url.path()), ("issuer.example", 443, "/tenant"));
/// assert!("https://user:secret@issuer.example".parse::<HttpUrl>().is_err());
/// # Ok::<(), token_interceptor::http_url::HttpUrlError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    uri: Uri,
    host: Host,
    port: u16,
}

/// The error of a text that is no [`HttpUrl`]. It does not quote the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HttpUrlError(&'static str);

const NO_SCHEME: HttpUrlError = HttpUrlError("it does not begin with https:// or http://");
const USER_INFORMATION: HttpUrlError = HttpUrlError("it has user information before the host");
const FRAGMENT: HttpUrlError = HttpUrlError("it has a fragment");
const HOST_NOT_ASCII: HttpUrlError =
    HttpUrlError("its host has letters outside ASCII; write the host in Punycode, such as xn--bcher-kva.example");
const NOT_ASCII: HttpUrlError =
    HttpUrlError("it has a space, a control character or a letter outside ASCII; percent-encode it");
const NO_HOST: HttpUrlError = HttpUrlError("its host is neither a DNS name nor an IP address");
const NO_PORT: HttpUrlError = HttpUrlError("its port is not a number up to 65535");
const MALFORMED: HttpUrlError = HttpUrlError("it has a character that a URL may not have, or is too long");

impl HttpUrl {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// Returns an error that says what is wrong with `text`.
    pub fn parse(text: &str) -> Result<Self, HttpUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(NO_SCHEME)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = rest.get(..end).unwrap_or_default();
        if authority.contains('@') {
            return Err(USER_INFORMATION);
        }
        let standard_port = match scheme.to_ascii_lowercase().as_str() {
            "https" => 443,
            "http" => 80,
            _ => return Err(NO_SCHEME),
        };
        if !authority.is_ascii() {
            return Err(HOST_NOT_ASCII);
        }
        if text.contains('#') {
            return Err(FRAGMENT);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NOT_ASCII);
        }
        let uri: Uri = text.parse().map_err(|_| MALFORMED)?;
        let (host, port) = split_port(authority)?;
        Ok(Self { host: Host::parse(host).ok_or(NO_HOST)?, port: port.unwrap_or(standard_port), uri })
    }

    /// Returns true for `https`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the host, an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default()
    }

    /// Returns the port, which is the scheme's own if none is written.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the path: `/` at least.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Returns the query, without its `?`.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    /// Returns true if the host is this machine: [`is_loopback`].
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.host.is_loopback()
    }

    /// Returns the same URL with another path.
    ///
    /// # Errors
    ///
    /// Returns an error if `path` has a character that a path may not have, or the URL becomes too long.
    pub fn with_path(&self, path: &str) -> Result<Self, HttpUrlError> {
        if !path.starts_with('/') || path.contains(['?', '#']) {
            return Err(MALFORMED);
        }
        let path = match self.query() {
            Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
            None => PathAndQuery::try_from(path),
        };
        let mut parts = Parts::from(self.uri.clone());
        parts.path_and_query = Some(path.map_err(|_| MALFORMED)?);
        let uri = Uri::from_parts(parts).map_err(|_| MALFORMED)?;
        Ok(Self { uri, ..self.clone() })
    }

    /// Returns the URL as HTTP libraries take it.
    #[must_use]
    pub fn as_uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn typed_host(&self) -> &Host {
        &self.host
    }

    /// Returns the root of the host, with the port: for gRPC, and for proxies.
    pub(crate) fn root(&self) -> Result<Uri, HttpUrlError> {
        self.with_scheme(if self.is_https() { Scheme::HTTPS } else { Scheme::HTTP })
    }

    /// Returns the root as [`HttpUrl::root`], with another scheme on the same port.
    pub(crate) fn with_scheme(&self, scheme: Scheme) -> Result<Uri, HttpUrlError> {
        let uri = Uri::builder().scheme(scheme).authority(format!("{}:{}", self.host(), self.port));
        uri.path_and_query("/").build().map_err(|_| MALFORMED)
    }
}

/// Splits `host:port`. The port is absent, or a number.
fn split_port(authority: &str) -> Result<(&str, Option<u16>), HttpUrlError> {
    // The colons of an IPv6 address are within brackets.
    let after_address = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority.get(after_address..).and_then(|rest| rest.find(':')) {
        None => Ok((authority, None)),
        Some(colon) => {
            let (host, port) = authority.split_at(after_address + colon);
            let port = port.strip_prefix(':').unwrap_or_default();
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            Ok((host, Some(port.parse().ok().filter(|_| digits).ok_or(NO_PORT)?)))
        }
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpUrl({})", self.uri)
    }
}

/// Returns true for a text before whose host user information may stand. An error must not quote it, also
/// where its fault is another.
pub(crate) fn may_hold_password(text: &str) -> bool {
    text.contains('@') && HttpUrl::parse(text).is_err()
}

/// Returns a text that was given as a URL, in quotes for an error, or `the URL` in place of one that may hold
/// a password.
///
/// ```
/// use token_interceptor::http_url::shown;
///
/// assert_eq!(shown("ftp://issuer.example"), "\"ftp://issuer.example\"");
/// assert_eq!(shown("https://user:secret@issuer.example"), "the URL");
/// ```
#[must_use]
pub fn shown(text: &str) -> String {
    if may_hold_password(text) { "the URL".to_owned() } else { format!("{text:?}") }
}

/// The host of a URL: a DNS name in lower case, or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// Parses a DNS name, an IPv4 address of four decimal numbers, or an IPv6 address in brackets.
    ///
    /// A name whose last label is a number is rejected: system resolvers read `127.1` and `0x7f000001` as
    /// addresses.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[') {
            let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
        let well_formed = labels.clone().all(|label| !label.is_empty() && label.bytes().all(is_allowed));
        let last = labels.next_back().unwrap_or_default().to_ascii_lowercase();
        let digits = |text: &str, radix| text.chars().all(|c| c.is_digit(radix));
        let is_number = digits(&last, 10) || last.strip_prefix("0x").is_some_and(|rest| digits(rest, 16));
        (well_formed && !is_number && text.len() <= 255).then(|| Self::Name(text.to_ascii_lowercase()))
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

/// Returns true for `localhost`, 127.0.0.0/8, and `[::1]`: a host as it stands in a URL.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    Host::parse(host).is_some_and(|host| host.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_read_into_its_parts() {
        for (text, host, port, path, query) in [
            ("https://a.example", "a.example", 443, "/", None),
            ("HTTP://A.Example:8080/x/y?k=v&l=", "A.Example", 8080, "/x/y", Some("k=v&l=")),
            ("http://[::1]:50051/", "[::1]", 50051, "/", None),
            ("https://10.0.0.1?k", "10.0.0.1", 443, "/", Some("k")),
            ("https://xn--bcher-kva.example/b%C3%BCcher", "xn--bcher-kva.example", 443, "/b%C3%BCcher", None),
            ("https://a_b.example.:1", "a_b.example.", 1, "/", None),
        ] {
            let url: HttpUrl = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((url.host(), url.port(), url.path(), url.query()), (host, port, path, query), "{text}");
        }
    }

    #[test]
    fn url_with_a_fault_is_rejected_with_the_fault() {
        for (text, fault) in [
            ("a.example", NO_SCHEME),
            ("", NO_SCHEME),
            ("ftp://a.example", NO_SCHEME),
            ("file:///etc/passwd", NO_SCHEME),
            ("https://user:secret@a.example", USER_INFORMATION),
            ("https://@a.example", USER_INFORMATION),
            ("ftp://user:secret@a.example", USER_INFORMATION),
            ("https://a.example/#x", FRAGMENT),
            ("https://bücher.example", HOST_NOT_ASCII),
            ("https://a.example/bücher", NOT_ASCII),
            ("https://a.example/a b", NOT_ASCII),
            (" https://a.example", NO_SCHEME),
            ("https://a.example\n", NOT_ASCII),
            ("https://a.example:", NO_PORT),
            ("https://a.example:65536", NO_PORT),
            ("https://a.example:+1", NO_PORT),
            ("https://a.example::80", MALFORMED),
        ] {
            assert_eq!(HttpUrl::parse(text).unwrap_err(), fault, "{text:?}");
        }
        for text in ["https://", "https:///path", "https://:80", "https://a..example", "https://a!example"] {
            assert!(HttpUrl::parse(text).is_err(), "{text:?}");
        }
    }

    /// A resolver reads these as 127.0.0.1, and a check of names would not.
    #[test]
    fn host_that_a_resolver_reads_as_a_number_is_rejected() {
        for host in ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5", "a.0x"] {
            assert!(HttpUrl::parse(&format!("http://{host}/")).is_err(), "{host}");
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn path_is_replaced_and_the_query_stays() {
        let url: HttpUrl = "https://a.example:8443/a?k=v".parse().unwrap();
        assert_eq!(url.with_path("/b/c").unwrap().to_string(), "https://a.example:8443/b/c?k=v");
        for path in ["/a b", "b", "", "/b?k", "/b#x", "https://b.example/"] {
            assert_eq!(url.with_path(path).unwrap_err(), MALFORMED, "{path}");
        }
        assert!(url.with_path(&format!("/{}", "a".repeat(70_000))).is_err());
    }
}
