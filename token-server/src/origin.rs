//! The origin of a request: the peer's address and the request ID, for limits and logs.

mod forwarded;
mod network;

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use token_interceptor::clock::Clock;
use tokio::{sync::watch, time::Instant};
use tonic::transport::server::TcpConnectInfo;

pub use forwarded::{ForwardedField, Forwarding};
pub use network::{Network, NotANetwork};

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
    /// Reads the origin from the transport's data and the caller's headers.
    #[must_use]
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        Self { peer: Peer::of(extensions), request_id: RequestId::of(headers) }
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

/// The connection that a request arrived on.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The peer of the connection, or the one behind a trusted proxy.
    pub(crate) peer: Peer,
    pub(crate) activity: Activity,
    /// Whether the peer has shown a client certificate, which was verified.
    pub(crate) client_certificate: bool,
    pub(crate) cut: Cut,
}

impl Line {
    /// Of a connection that is being opened.
    pub(crate) fn new(peer: Peer, client_certificate: bool) -> Self {
        Self { peer, activity: Activity::new(), client_certificate, cut: Cut::default() }
    }
}

/// Closes a connection from within one of its requests. Every clone is of the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<watch::Sender<bool>>);

impl Cut {
    /// Closes the connection, with all that is under way on it.
    pub(crate) fn cut(&self) {
        self.0.send_replace(true);
    }

    /// Waits until the connection is to be closed.
    pub(crate) async fn wait(&self) {
        // The sender is held here, so it cannot be gone.
        let _ = self.0.subscribe().wait_for(|cut| *cut).await;
    }

    #[cfg(test)]
    pub(crate) fn is_cut(&self) -> bool {
        *self.0.borrow()
    }
}

/// The activity of a connection. Cheap to clone; all clones belong to the same connection.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Noted>);

#[derive(Debug)]
struct Noted {
    opened: Instant,
    /// The time of the last read, in nanoseconds since the connection was opened.
    read_nanos: AtomicU64,
    /// Requests over HTTP/1, which follow one another.
    begun: AtomicU32,
    ended: AtomicU32,
}

impl Activity {
    /// Starts to track a connection that is being opened.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Noted {
            opened: Instant::now(),
            read_nanos: AtomicU64::new(0),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
        }))
    }

    /// Records a read.
    pub(crate) fn note_read(&self) {
        let nanos = u64::try_from(self.0.opened.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.read_nanos.store(nanos, Ordering::Relaxed);
    }

    /// Returns the time of the last read.
    pub(crate) fn last_read(&self) -> Instant {
        self.0.opened + Duration::from_nanos(self.0.read_nanos.load(Ordering::Relaxed))
    }

    /// Records the start of a request, which ends when the returned value is dropped.
    pub(crate) fn begin(&self) -> Turn {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Turn(self.clone())
    }

    /// Returns the number of requests that have begun.
    pub(crate) fn requests(&self) -> u32 {
        self.0.begun.load(Ordering::Relaxed)
    }

    /// Returns true if every request that has begun has ended.
    pub(crate) fn is_idle(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) == self.0.ended.load(Ordering::Relaxed)
    }
}

/// A request over HTTP/1, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(Activity);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// The address of the connection's peer, if the transport knows one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Peer(Option<IpAddr>);

impl Peer {
    /// Reads the address from the transport's data.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        if let Some(line) = extensions.get::<Line>() {
            return line.peer;
        }
        // A transport other than this crate's own.
        let address = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
        Self(address.map(|address| address.ip().to_canonical()))
    }

    /// Returns the key for limits: the IPv4 address, or the IPv6 /64, which one host owns entirely.
    #[must_use]
    pub(crate) fn network(self) -> Self {
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
        Origin::of(&headers, &Extensions::new())
    }

    #[test]
    fn takes_over_a_sane_request_id() {
        assert_eq!(with_id(b"a-1.b_2:C").request_id().as_str(), "a-1.b_2:C");
    }

    #[test]
    fn replaces_a_request_id_that_could_forge_a_log_line() {
        for id in [b"a b" as &[u8], b"a\tb", b"\"", b"", b"\xff", &[b'a'; 65]] {
            let origin = Origin::of(
                &HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(id).unwrap())]),
                &Extensions::new(),
            );
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
