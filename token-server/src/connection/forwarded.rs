//! The peer behind a trusted proxy, from the header field that the proxy writes. RFC 7239, and
//! `X-Forwarded-For`.
//!
//! Each proxy appends the address that it sees. The field is therefore read from its end, and only while the
//! writers are trusted. The entries before that may be forged by the caller.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};

use super::{Network, Peer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// The maximum number of consecutive proxies.
const HOPS_MAX: usize = 16;

/// The header field that the proxies in front of this server write.
///
/// Exhaustive: the server must read a new field before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardedField {
    /// `X-Forwarded-For`: addresses separated by commas.
    #[default]
    XForwardedFor,
    /// `Forwarded` of RFC 7239, of which `for` is read.
    Forwarded,
}

/// The trusted proxies and the field that they write.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// The networks of the trusted proxies. If empty, no proxy is trusted.
    pub from: Vec<Network>,
    /// The field that the proxies write; the other one is never read.
    pub field: ForwardedField,
}

impl Forwarding {
    /// Returns true if the peer is a trusted proxy.
    pub(crate) fn trusts(&self, peer: Peer) -> bool {
        peer.address().is_some_and(|address| self.from.iter().any(|network| network.contains(address)))
    }

    /// Returns the peer of a request on a connection from `connection`. An element without an address ends
    /// the search; the request then counts as the last known proxy's.
    pub(crate) fn peer(&self, connection: Peer, headers: &HeaderMap) -> Peer {
        let mut peer = connection;
        if self.from.is_empty() || !self.trusts(peer) {
            return peer;
        }
        let name = match self.field {
            ForwardedField::XForwardedFor => X_FORWARDED_FOR,
            ForwardedField::Forwarded => FORWARDED,
        };
        let mut hops = 0;
        for line in headers.get_all(name).iter().rev() {
            let Some(elements) = line.to_str().ok().and_then(elements) else { return peer };
            for element in elements.into_iter().rev() {
                hops += 1;
                let address = match self.field {
                    ForwardedField::XForwardedFor => node(element),
                    ForwardedField::Forwarded => for_parameter(element),
                };
                let Some(address) = address.filter(|_| hops <= HOPS_MAX) else { return peer };
                peer = Peer::from(address);
                if !self.trusts(peer) {
                    return peer;
                }
            }
        }
        peer
    }
}

/// Splits a list into elements, except at a comma in a quoted string. Returns `None` if a quoted string does
/// not end.
fn elements(line: &str) -> Option<Vec<&str>> {
    let (mut elements, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                elements.push(line.get(start..place)?.trim());
                start = place + 1;
            }
            _ => {}
        }
    }
    elements.push(line.get(start..)?.trim());
    (!quoted).then_some(elements)
}

/// Returns the single `for` of an element. RFC 7239 section 4.
fn for_parameter(element: &str) -> Option<IpAddr> {
    let mut found = None;
    // A semicolon in a quoted string yields a part that is not a pair, or has unbalanced quotes.
    for pair in element.split(';') {
        let (name, value) = pair.split_once('=')?;
        let quotes = value.bytes().filter(|byte| *byte == b'"').count();
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        let value = match (quotes, inner) {
            (0, _) => value,
            (2, Some(inner)) => inner,
            _ => return None,
        };
        if name.trim().eq_ignore_ascii_case("for") && found.replace(node(value)?).is_some() {
            return None;
        }
    }
    found
}

/// Parses an address, with or without brackets and port. Obfuscated names (`unknown`, `_proxy1`) yield
/// `None`.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    text.parse().ok().or_else(bracketed).or_else(with_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<IpAddr>().unwrap())
    }

    fn found(field: ForwardedField, connection: &str, lines: &[&str]) -> Peer {
        let from = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().unwrap()).to_vec();
        let name = if field == ForwardedField::Forwarded { FORWARDED } else { X_FORWARDED_FOR };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), http::HeaderValue::from_str(line).unwrap());
        }
        Forwarding { from, field }.peer(peer(connection), &headers)
    }

    fn x(connection: &str, lines: &[&str]) -> Peer {
        found(ForwardedField::XForwardedFor, connection, lines)
    }

    fn forwarded(lines: &[&str]) -> Peer {
        found(ForwardedField::Forwarded, "10.0.0.1", lines)
    }

    #[test]
    fn peer_is_the_last_address_that_no_trusted_proxy_has() {
        assert_eq!(x("10.0.0.1", &["192.0.2.1"]), peer("192.0.2.1"));
        assert_eq!(x("10.0.0.1", &["192.0.2.1, 10.0.0.2"]), peer("192.0.2.1"));
        assert_eq!(x("10.0.0.1", &["192.0.2.1", "10.0.0.2,10.0.0.3"]), peer("192.0.2.1"));
        assert_eq!(x("2001:db8::1", &["[2001:db9::1]:443"]), peer("2001:db9::1"));
        assert_eq!(x("10.0.0.1", &["192.0.2.1:4711"]), peer("192.0.2.1"));
    }

    #[test]
    fn what_the_caller_writes_itself_is_never_believed() {
        assert_eq!(x("192.0.2.9", &["192.0.2.1"]), peer("192.0.2.9"), "no proxy");
        assert_eq!(x("10.0.0.1", &["192.0.2.1, 192.0.2.2"]), peer("192.0.2.2"));
        assert_eq!(x("10.0.0.1", &["192.0.2.1", "192.0.2.2"]), peer("192.0.2.2"));
        assert_eq!(forwarded(&["for=192.0.2.1, for=192.0.2.2"]), peer("192.0.2.2"));
        // The proxy quotes the host that the caller sent.
        assert_eq!(forwarded(&[r#"for=192.0.2.2;host="a,for=192.0.2.1""#]), peer("192.0.2.2"));
        assert_eq!(forwarded(&[r#"for=192.0.2.2;host="a,for=192.0.2.1;x=""#]), peer("10.0.0.1"));
        assert_eq!(forwarded(&[r#"for="192.0.2.1, for=192.0.2.2"#]), peer("10.0.0.1"), "a quotation mark left open");
    }

    #[test]
    fn without_an_address_the_request_is_the_proxys_own() {
        for lines in [&[][..], &[""], &["unknown"], &["192.0.2.1, _hidden"], &["192.0.2.1,"], &["192.0.2.1 192.0.2.2"]]
        {
            assert_eq!(x("10.0.0.1", lines), peer("10.0.0.1"), "{lines:?}");
        }
        assert_eq!(forwarded(&["for=192.0.2.1;for=192.0.2.2"]), peer("10.0.0.1"));
        assert_eq!(x("10.0.0.1", &["192.0.2.1, unknown, 10.0.0.2"]), peer("10.0.0.2"));
    }

    #[test]
    fn reads_the_examples_of_rfc_7239() {
        assert_eq!(forwarded(&[r#"For="[2001:db9:cafe::17]:4711""#]), peer("2001:db9:cafe::17"));
        assert_eq!(forwarded(&["for=192.0.2.60;proto=http;by=203.0.113.43"]), peer("192.0.2.60"));
        assert_eq!(forwarded(&["for=192.0.2.43, for=10.1.2.3"]), peer("192.0.2.43"));
    }

    #[test]
    fn a_chain_without_end_is_not_followed() {
        let chain = format!("192.0.2.1{}", ", 10.0.0.2".repeat(1_000));
        assert_eq!(x("10.0.0.1", &[&chain]), peer("10.0.0.2"));
    }
}
