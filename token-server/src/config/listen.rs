//! `[listen]`, `[tls]`, `[limits]` and `[admin]`: the port, its limits, and its services.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use token_issuer::limit;

use super::{
    reader::Section,
    setting::{Setting, describe},
    source::Value,
};
use crate::connection::{ForwardedField, Forwarding, Network};

/// `[listen]`: the addresses of the server.
#[derive(Clone, Debug)]
pub struct Listen {
    /// gRPC and HTTP, on one port.
    pub address: SocketAddr,
    /// The separate plaintext port for operators: metrics and health. `None` serves them on `address`, and
    /// the metrics only if that is loopback.
    pub operations_address: Option<SocketAddr>,
    /// Proxies that begin each connection to `address` with a PROXY header, version 1 or 2. Connections
    /// without it, or from other addresses, are closed. If empty, the header is not read.
    pub proxy_protocol_from: Vec<Network>,
    /// Proxies that write the origin of each request into a header field, and the name of the field.
    pub forwarding: Forwarding,
    /// The number of worker threads. Each serves a share of the connections.
    pub threads: usize,
    /// Serve without TLS beyond loopback. Secrets and tokens then cross the network in the clear, unless a
    /// proxy on the same host terminates TLS.
    pub danger_plaintext: bool,
}

impl Listen {
    pub(super) fn read(mut section: Section<'_>, plaintext: bool) -> Option<Self> {
        let address: Option<SocketAddr> = section.required("address");
        let operations_address = section.optional("operations_address");
        let proxy_protocol_from: Vec<Network> = section.optional("proxy_protocol_from").unwrap_or_default();
        let from: Vec<Network> = section.optional("forwarded_from").unwrap_or_default();
        let forwarding = Forwarding { from, field: section.or("forwarded_field", ForwardedField::default()) };
        let threads = section.within("threads", threads_default(), 1..=1024);
        let danger_plaintext = section.or("danger_plaintext", false);
        if let Some(address) = address
            && plaintext
            && !danger_plaintext
            && !address.ip().is_loopback()
        {
            section.reject(
                "address",
                format!(
                    "{address} is not loopback, and there is no [tls]: secrets would cross the network unencrypted"
                ),
                "[tls] certificate and private_key; a loopback address; or danger_plaintext = true where TLS ends \
                 in front of this server",
            );
        }
        section.finish();
        Some(Self { address: address?, operations_address, proxy_protocol_from, forwarding, threads, danger_plaintext })
    }
}

impl Setting for Network {
    const ALLOWED: &'static str = r#"IP addresses or networks in quotes, such as "10.0.0.0/8""#;

    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        text.parse().map_err(|error| format!("{text:?} is {error}"))
    }
}

impl Setting for ForwardedField {
    const ALLOWED: &'static str = r#""X-Forwarded-For" or "Forwarded""#;

    fn read(value: &Value) -> Result<Self, String> {
        match String::read(value)?.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err(format!("{} is not a supported field", describe(value))),
        }
    }
}

/// One per core.
fn threads_default() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

/// `[tls]`: certificates. The files are checked for changes and reloaded without a restart.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate chain in PEM, the leaf first.
    pub certificate: PathBuf,
    /// The private key of the leaf in PEM: PKCS#8, PKCS#1 or SEC1.
    pub private_key: PathBuf,
    /// CA certificates in PEM that verify client certificates. `None` requests no client certificate.
    pub client_ca: Option<PathBuf>,
    /// Reject connections without a client certificate.
    pub client_certificate_required: bool,
    /// The interval at which the files are checked for changes.
    pub reload_interval: Duration,
}

/// The result of reading an optional section.
pub(super) enum Optional<T> {
    Absent,
    Given(T),
    Mistaken,
}

impl<T> Optional<T> {
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }

    /// Returns `None` if a mistake has been recorded.
    pub(super) fn into_option(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Given(value) => Some(Some(value)),
            Self::Mistaken => None,
        }
    }
}

impl Tls {
    pub(super) fn read(given: bool, mut section: Section<'_>) -> Optional<Self> {
        if !given {
            return Optional::Absent;
        }
        let certificate = section.required_file("certificate");
        let private_key = section.required_file("private_key");
        let client_ca = section.file("client_ca");
        let client_certificate_required = section.or("client_certificate_required", false);
        let day = Duration::from_secs(86_400);
        let reload_interval = section.within("reload_interval", Duration::from_secs(10), Duration::from_secs(1)..=day);
        if client_certificate_required && client_ca.is_none() {
            let problem = "it needs [tls] client_ca to verify client certificates".to_owned();
            section.reject("client_certificate_required", problem, "false, or a client_ca");
        }
        section.finish();
        let (Some(certificate), Some(private_key)) = (certificate, private_key) else { return Optional::Mistaken };
        Optional::Given(Self { certificate, private_key, client_ca, client_certificate_required, reload_interval })
    }
}

/// `[limits]`: limits for one connection and for all.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections. More connections wait in the listener's backlog.
    pub connections: usize,
    /// Open connections of one peer. More are closed immediately. 0 is no limit. An IPv6 peer is its /64.
    pub connections_per_peer: usize,
    /// Requests in flight. More are rejected immediately.
    pub requests_at_once: usize,
    /// Requests in flight of one peer, streams included. A request counts until the peer has read the whole
    /// response. More are rejected immediately. 0 is no limit. An IPv6 peer is its /64.
    pub requests_at_once_per_peer: usize,
    /// Bytes of the heads and bodies of one peer's requests. A request counts until the peer has read the
    /// whole response. More are rejected immediately. 0 is no limit. An IPv6 peer is its /64.
    pub bytes_at_once_per_peer: usize,
    /// The longest time that a request may queue for an overloaded worker. When its turn comes later, it is
    /// rejected.
    pub queue_time_max: Duration,
    /// The time limit of a request, most often reached by a body that arrives too slowly. Over HTTP/1.1 it
    /// also limits the head of a request.
    pub request_timeout: Duration,
    /// The time after which an HTTP/1.1 connection without a request is closed.
    pub http1_idle_timeout: Duration,
    /// The time limit of a TLS handshake.
    pub handshake_timeout: Duration,
    /// Requests in flight on one HTTP/2 connection.
    pub streams_per_connection: u32,
    /// The largest header list of a request, in bytes, over HTTP/1.1 and HTTP/2.
    pub header_bytes: u32,
    /// Token requests of one peer per second. 0 is no limit. An IPv6 peer is its /64.
    pub requests_per_second_per_peer: u32,
    /// Token requests of one authenticated client per second. 0 is no limit.
    pub requests_per_second_per_client: u32,
    /// Failed authentications of one client ID from one peer per second, with bursts of ten times as many. 0
    /// is no limit.
    pub failures_per_second: u32,
    /// The age at which a connection is asked to close (GOAWAY), so that clients spread over replicas.
    pub connection_age: Duration,
    /// The time that requests in flight have to finish after a signal to stop.
    pub drain_deadline: Duration,
}

impl Limits {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let default = Self::default();
        let limits = Self {
            connections: section.within("connections", default.connections, 1..=1_000_000),
            connections_per_peer: section.or("connections_per_peer", default.connections_per_peer),
            requests_at_once: section.within("requests_at_once", default.requests_at_once, 1..=1_000_000),
            requests_at_once_per_peer: section.or("requests_at_once_per_peer", default.requests_at_once_per_peer),
            bytes_at_once_per_peer: section.or("bytes_at_once_per_peer", default.bytes_at_once_per_peer),
            queue_time_max: section.within("queue_time_max", default.queue_time_max, second / 1_000..=second * 60),
            request_timeout: section.within("request_timeout", default.request_timeout, second..=second * 600),
            http1_idle_timeout: section.within(
                "http1_idle_timeout",
                default.http1_idle_timeout,
                second..=second * 86_400,
            ),
            handshake_timeout: section.within("handshake_timeout", default.handshake_timeout, second..=second * 60),
            streams_per_connection: section.within(
                "streams_per_connection",
                default.streams_per_connection,
                1..=100_000,
            ),
            header_bytes: section.within("header_bytes", default.header_bytes, 1024..=1024 * 1024),
            requests_per_second_per_peer: section
                .or("requests_per_second_per_peer", default.requests_per_second_per_peer),
            requests_per_second_per_client: section
                .or("requests_per_second_per_client", default.requests_per_second_per_client),
            failures_per_second: section.or("failures_per_second", default.failures_per_second),
            connection_age: section.within("connection_age", default.connection_age, second * 10..=second * 604_800),
            drain_deadline: section.within("drain_deadline", default.drain_deadline, Duration::ZERO..=second * 600),
        };
        section.finish();
        limits
    }
}

impl Default for Limits {
    fn default() -> Self {
        let second = Duration::from_secs(1);
        Self {
            connections: 10_000,
            connections_per_peer: 2_000,
            requests_at_once: 10_000,
            requests_at_once_per_peer: 5_000,
            bytes_at_once_per_peer: 32 * 1024 * 1024,
            queue_time_max: second / 40,
            request_timeout: second * 30,
            // Load balancers keep idle connections for 60 s. The side that sends the requests must be the one
            // that closes first.
            http1_idle_timeout: second * 75,
            handshake_timeout: second * 10,
            streams_per_connection: 1_000,
            header_bytes: 16 * 1024,
            requests_per_second_per_peer: limit::PEER_REQUESTS_PER_SECOND,
            requests_per_second_per_client: limit::CLIENT_REQUESTS_PER_SECOND,
            failures_per_second: limit::FAILURES_PER_SECOND,
            connection_age: second * 3600,
            drain_deadline: second * 30,
        }
    }
}

/// `[admin]`: services in addition to tokens.
#[derive(Clone, Debug)]
pub struct Admin {
    /// `ClientService` and `KeyService`. If off, clients and keys change only in the store or through another
    /// replica.
    pub enabled: bool,
    /// Server reflection, which shows the API to every caller without a token.
    pub reflection: bool,
}

impl Admin {
    pub(super) fn read(mut section: Section<'_>) -> Self {
        let admin = Self { enabled: section.or("enabled", true), reflection: section.or("reflection", false) };
        section.finish();
        admin
    }
}
