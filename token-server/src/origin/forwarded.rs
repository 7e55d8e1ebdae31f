//! The peer behind a trusted proxy, by the field that the proxy writes. RFC 7239, and `X-Forwarded-For`.
//!
//! Each proxy appends the address that it sees, so the field is read from its end, and only as far as those who wrote
//! it are trusted. What stands further to the front may be the caller's own invention.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};

use super::{Network, Peer};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row at the most.
const HOPS_MAX: usize = 16;

/// The field that the proxies in front of this server write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardedField {
    /// `X-Forwarded-For`: addresses with commas between them.
    #[default]
    XForwardedFor,
    /// `Forwarded` of RFC 7239, of which `for` is read.
    Forwarded,
}

/// The proxies that are believed, and what they write.
#[derive(Clone, Debug, Default)]
pub struct Forwarding {
    /// Empty: nothing is believed.
    pub from: Vec<Network>,
    /// What they write; the other field is never read.
    pub field: ForwardedField,
}

impl Forwarding {
    /// Whether the peer is one of the trusted proxies.
    pub(crate) fn trusts(&self, peer: Peer) -> bool {
        peer.0.is_some_and(|address| self.from.iter().any(|network| network.contains(address)))
    }

    /// The peer that a request comes from whose connection is `connection`'s. An element that is no address ends the
    /// search: the request then counts as the last proxy's that is known.
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

/// The elements of a list, where a comma in a quoted string is none. `None` where a quoted string does not end.
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

/// RFC 7239 section 4: the one `for` among the pairs of an element.
fn for_parameter(element: &str) -> Option<IpAddr> {
    let mut found = None;
    // A semicolon in a quoted string makes a part that is no pair, or one whose quotation marks do not match.
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

/// An address, with or without brackets and port. Names that hide one (`unknown`, `_proxy1`) are none.
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
        // The proxy quotes what the caller sent as its host.
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
