//! The origin of a request: the peer's address and the request ID, for limits and logs.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
    time::SystemTime,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use token_interceptor::clock::Clock;

/// The header, and the gRPC metadata key, of the request ID.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request ID that is accepted from a caller, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// The origin of one request. Created once, when the request arrives.
#[derive(Clone, Debug)]
pub struct Origin {
    peer: Peer,
    request_id: RequestId,
}

impl Origin {
    /// Returns the origin of a request of `peer`, whose ID is read from the caller's headers.
    #[must_use]
    pub fn new(peer: Peer, headers: &HeaderMap) -> Self {
        Self { peer, request_id: RequestId::of(headers) }
    }

    /// Returns the peer of the connection, or the one behind a trusted proxy.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns the ID that links the response, the log and the caller's report.
    #[must_use]
    pub fn request_id(&self) -> &RequestId {
        &self.request_id
    }
}

/// The address of the connection's peer, if the transport knows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Option<IpAddr>);

impl Peer {
    /// The peer of a transport that knows no address.
    pub const UNKNOWN: Self = Self(None);

    /// Returns the address, if the transport knows one.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        self.0
    }

    /// Returns the key for limits: the IPv4 address, or the IPv6 /64, which one host owns entirely.
    #[must_use]
    pub fn network(self) -> Self {
        Self(self.0.map(|address| match address {
            IpAddr::V4(_) => address,
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        }))
    }
}

impl From<IpAddr> for Peer {
    fn from(address: IpAddr) -> Self {
        Self(Some(address.to_canonical()))
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// A request ID: the caller's own if it is valid, otherwise a generated one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Id);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Id {
    Callers(HeaderValue),
    Ours([u8; 20]),
}

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        match headers.get(REQUEST_ID) {
            Some(value) if is_sane(value.as_bytes()) => Self(Id::Callers(value.clone())),
            Some(_) | None => Self::generate(),
        }
    }

    /// Generates a unique ID cheaply. It does not need to be unpredictable. 80 bits as 20 hexadecimal digits.
    fn generate() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = u128::from(started_micros()) << 32 | u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut text = [b'0'; 20];
        for (place, digit) in (0..20).rev().zip(&mut text) {
            let value = (id >> (4 * place)) as u8 & 0xf;
            *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
        }
        Self(Id::Ours(text))
    }

    /// Returns the ID as it appears in the log.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let text = match &self.0 {
            Id::Callers(value) => value.as_bytes(),
            Id::Ours(text) => text,
        };
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// Returns the ID as a header value.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        let mut value = match &self.0 {
            Id::Callers(value) => value.clone(),
            Id::Ours(text) => HeaderValue::from_bytes(text).unwrap_or(HeaderValue::from_static("unknown")),
        };
        // Not a secret, but new each time, so HPACK need not index it (RFC 7541 section 6.2.3).
        value.set_sensitive(true);
        value
    }
}

/// Returns a value that distinguishes one run of the program from another.
fn started_micros() -> u64 {
    static STARTED: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *STARTED.get_or_init(|| {
        let now = token_interceptor::clock::SystemClock.now();
        let micros = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_micros());
        u64::try_from(micros & 0xffff_ffff_ffff).unwrap_or_default()
    })
}

/// Returns true if the ID cannot break a log line, a header or a shell command.
fn is_sane(id: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_id(id: &'static [u8]) -> Origin {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        Origin::new(Peer::UNKNOWN, &headers)
    }

    #[test]
    fn takes_over_a_sane_request_id() {
        assert_eq!(with_id(b"a-1.b_2:C").request_id().as_str(), "a-1.b_2:C");
    }

    #[test]
    fn replaces_a_request_id_that_could_forge_a_log_line() {
        for id in [b"a b" as &[u8], b"a\tb", b"\"", b"", b"\xff", &[b'a'; 65]] {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]);
            let origin = Origin::new(Peer::UNKNOWN, &headers);
            assert_eq!(origin.request_id().as_str().len(), 20, "{id:?}");
        }
    }

    #[test]
    fn generated_request_ids_differ() {
        assert_ne!(RequestId::generate(), RequestId::generate());
    }

    #[test]
    fn counts_ipv6_by_its_network_and_ipv4_by_its_address() {
        let peer = |text: &str| Peer::from(text.parse::<IpAddr>().unwrap()).network();
        assert_eq!(peer("2001:db8::1"), peer("2001:db8::ffff:2"));
        assert_ne!(peer("2001:db8::1"), peer("2001:db8:0:1::1"));
        assert_ne!(peer("192.0.2.1"), peer("192.0.2.2"));
    }
}
