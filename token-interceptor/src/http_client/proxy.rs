//! The environment's proxies: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, and their exceptions in `NO_PROXY`.
//!
//! A lower-case name has precedence. Every connection goes through the proxy by CONNECT (RFC 9110 section
//! 9.3.6), so the proxy sees a host and never a request. A proxy is an `http` or `https` URL, or a host and a
//! port. Its user information becomes `Proxy-Authorization`. This machine itself is never reached through a
//! proxy.

use std::{fmt, net::IpAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri};

use crate::http_url::{Host, HttpUrl};

/// The environment's proxy settings.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    except: Vec<Exception>,
}

/// A proxy, or an invalid value in its place. Connections for an invalid proxy fail; they do not go out
/// directly.
#[derive(Clone, Debug)]
pub(super) enum Proxy {
    Usable(Address),
    Unusable,
}

/// The address and the credentials of a proxy.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) uri: Uri,
    pub(super) authorization: Option<HeaderValue>,
}

/// A destination that is reached directly.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    host: Hosts,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    All,
    /// A name and every name below it, in lower case.
    Domain(String),
    /// The addresses that share this many leading bits.
    Network(IpAddr, u32),
}

impl Proxies {
    /// Reads the environment's variables by `variable`.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let named = |name: &str| {
            let lower = variable(&name.to_ascii_lowercase()).filter(|value| !value.is_empty());
            // CGI passes a request's `Proxy` header field as HTTP_PROXY, so a CGI program must not trust it.
            let upper = || variable(name).filter(|_| name != "HTTP_PROXY" || variable("REQUEST_METHOD").is_none());
            lower.or_else(upper).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let all = named("ALL_PROXY");
        let proxy = |name: &str| named(name).or_else(|| all.clone()).map(|value| Proxy::parse(&value));
        let except = named("NO_PROXY").unwrap_or_default();
        let except = except.split([',', ' ']).filter_map(Exception::parse).collect();
        Self { http: proxy("HTTP_PROXY"), https: proxy("HTTPS_PROXY"), except }
    }

    /// Returns the proxy for connections to `uri`; `None` for a direct connection.
    pub(super) fn of(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, port) = match uri.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            Some("http") => (self.http.as_ref()?, 80),
            Some(_) | None => return None,
        };
        // A host that cannot be parsed is no exception.
        let Some(host) = Host::parse(uri.host()?) else { return Some(proxy) };
        let port = uri.port_u16().unwrap_or(port);
        let direct = host.is_loopback() || self.except.iter().any(|except| except.matches(&host, port));
        (!direct).then_some(proxy)
    }
}

impl Proxy {
    fn parse(text: &str) -> Self {
        Address::parse(text).map_or(Self::Unusable, Self::Usable)
    }
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        // A value without a scheme is a host and a port.
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user_information, host) = match authority.rsplit_once('@') {
            Some((user_information, host)) => (Some(user_information), host),
            None => (None, authority),
        };
        // The default port is the scheme's. (curl's default of 1080 is for SOCKS.)
        let uri = HttpUrl::parse(&format!("{scheme}://{host}")).ok()?.root().ok()?;
        let authorization = match user_information {
            None | Some("") => None,
            Some(user_information) => {
                let (user, password) = user_information.split_once(':').unwrap_or((user_information, ""));
                let mut pair = percent_decoded(user);
                pair.push(b':');
                pair.extend(percent_decoded(password));
                let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))).ok()?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        Some(Self { uri, authorization })
    }
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = after.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match byte.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

impl Exception {
    /// Parses `*`, a name (with or without a leading `.` or `*.`), an address, or a network `10.0.0.0/8`.
    /// Each but a network may have a port.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            return None;
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = unbracketed(address).parse().ok()?;
            let bits: u32 = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self { host: Hosts::Network(address, bits), port: None });
        }
        if let Ok(address) = unbracketed(text).parse::<IpAddr>() {
            return Some(Self { host: Hosts::Network(address, width(address)), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let host = match (host, unbracketed(host).parse::<IpAddr>()) {
            ("*", _) => Hosts::All,
            (_, Ok(address)) => Hosts::Network(address, width(address)),
            (name, Err(_)) => {
                let name = name.strip_prefix('*').unwrap_or(name);
                Hosts::Domain(name.trim_matches('.').to_ascii_lowercase())
            }
        };
        Some(Self { host, port })
    }

    fn matches(&self, host: &Host, port: u16) -> bool {
        if self.port.is_some_and(|excepted| excepted != port) {
            return false;
        }
        match (&self.host, host) {
            (Hosts::All, _) => true,
            (Hosts::Domain(excepted), Host::Name(name)) => {
                let name = name.trim_end_matches('.');
                name.strip_suffix(excepted.as_str()).is_some_and(|above| above.is_empty() || above.ends_with('.'))
            }
            (Hosts::Network(network, bits), Host::Address(address)) => has_prefix(*address, *network, *bits),
            (Hosts::Domain(_), Host::Address(_)) | (Hosts::Network(..), Host::Name(_)) => false,
        }
    }
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text)
}

fn width(address: IpAddr) -> u32 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn has_prefix(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let differ = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => (u32::from(address) ^ u32::from(network)).leading_zeros().min(32),
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (u128::from(address) ^ u128::from(network)).leading_zeros().min(128)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
    };
    differ >= bits
}

/// Prints no credentials.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("uri", &self.uri).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Proxies {
        Proxies::read(|name| variables.iter().find(|(named, _)| *named == name).map(|(_, value)| (*value).to_owned()))
    }

    fn of(proxies: &Proxies, uri: &str) -> Option<String> {
        proxies.of(&uri.parse().unwrap()).map(|proxy| match proxy {
            Proxy::Usable(address) => address.uri.to_string(),
            Proxy::Unusable => "unusable".to_owned(),
        })
    }

    #[test]
    fn each_scheme_has_its_proxy_and_all_is_for_both() {
        let both = proxies(&[("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2"), ("HTTP_PROXY", "http://upper:3")]);
        assert_eq!(of(&both, "https://a.example").as_deref(), Some("http://s:1/"));
        assert_eq!(of(&both, "http://a.example").as_deref(), Some("http://p:2/"), "lower case first, no scheme");
        let all = proxies(&[("ALL_PROXY", "https://all.example"), ("HTTPS_PROXY", "")]);
        assert_eq!(of(&all, "https://a.example").as_deref(), Some("https://all.example:443/"));
        assert_eq!(of(&all, "http://a.example").as_deref(), Some("https://all.example:443/"));
        assert_eq!(of(&proxies(&[]), "https://a.example"), None);
    }

    #[test]
    fn this_machine_is_never_reached_through_a_proxy() {
        let all = proxies(&[("ALL_PROXY", "http://p:1")]);
        for uri in ["http://localhost:1", "https://127.0.0.1", "http://127.9.9.9", "https://[::1]:8443"] {
            assert_eq!(of(&all, uri), None, "{uri}");
        }
    }

    #[test]
    fn exceptions_have_many_forms() {
        let except =
            |no: &str, uri: &str| of(&proxies(&[("ALL_PROXY", "http://p:1"), ("no_proxy", no)]), uri).is_none();
        for (no, uri) in [
            ("*", "https://a.example"),
            ("*", "https://10.0.0.1"),
            ("a.example", "https://a.example"),
            ("a.example", "https://b.a.example"),
            (".a.example", "https://b.a.example"),
            (".a.example", "https://a.example"),
            ("*.a.example", "https://b.a.example"),
            ("A.Example", "https://a.EXAMPLE"),
            ("a.example.", "https://a.example"),
            ("b, a.example ,c", "https://a.example"),
            ("b a.example", "https://a.example"),
            ("a.example:8443", "https://a.example:8443"),
            ("a.example:443", "https://a.example"),
            ("10.0.0.0/8", "https://10.9.9.9"),
            ("10.0.0.1", "https://10.0.0.1:8443"),
            ("10.0.0.1:8443", "https://10.0.0.1:8443"),
            ("fd00::/8", "https://[fd00::1]"),
            ("[fd00::1]:8443", "https://[fd00::1]:8443"),
            ("fd00::1", "https://[fd00::1]"),
            ("0.0.0.0/0", "https://10.0.0.1"),
        ] {
            assert!(except(no, uri), "{no} {uri}");
        }
        for (no, uri) in [
            ("", "https://a.example"),
            ("a.example", "https://ba.example"),
            ("a.example", "https://a.example.org"),
            ("a.example:8443", "https://a.example"),
            ("10.0.0.0/8", "https://11.0.0.1"),
            ("10.0.0.0/8", "https://ten.example"),
            ("10.0.0.0/33", "https://10.0.0.1"),
            ("fd00::/8", "https://[fe00::1]"),
            ("0.0.0.0/0", "https://[fe00::1]"),
            (",", "https://a.example"),
        ] {
            assert!(!except(no, uri), "{no} {uri}");
        }
    }

    #[test]
    fn credentials_of_the_proxy_become_a_header_and_are_never_printed() {
        let proxies = proxies(&[("HTTPS_PROXY", "http://us%40er:p%3Ass@p.example:3128")]);
        let Some(Proxy::Usable(address)) = proxies.of(&"https://a.example".parse().unwrap()) else { panic!() };
        assert_eq!(address.uri, "http://p.example:3128/");
        let authorization = address.authorization.as_ref().unwrap();
        assert!(authorization.is_sensitive());
        let pair = STANDARD.decode(&authorization.as_bytes()["Basic ".len()..]).unwrap();
        assert_eq!(pair, b"us@er:p:ss");
        assert!(!format!("{proxies:?}").contains("p%3Ass") && !format!("{proxies:?}").contains("p:ss"));
    }

    #[test]
    fn what_is_no_http_proxy_is_never_passed_by() {
        for text in ["socks5://p:1", "ftp://p:1", "http://", "::", "http://p:99999"] {
            let proxies = proxies(&[("HTTPS_PROXY", text)]);
            assert_eq!(of(&proxies, "https://a.example").as_deref(), Some("unusable"), "{text}");
        }
    }

    #[test]
    fn a_cgi_program_takes_no_proxy_from_a_request() {
        let cgi = proxies(&[("HTTP_PROXY", "http://evil:1"), ("REQUEST_METHOD", "GET")]);
        assert_eq!(of(&cgi, "http://a.example"), None);
    }
}
