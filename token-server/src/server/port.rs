//! A port: its services, and the limits of its connections.

use std::{sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use tokio::sync::watch;

use super::{
    middleware::peer_limit::PeerLimitLayer,
    routes::Services,
    transport::{accept::ConnectionLimits, phase::Phase, tls::ReloadingTls},
};
use crate::{
    config::Limits,
    connection::{Forwarding, Network},
};

/// The smallest head buffer that hyper accepts.
const HTTP_1_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// The time of silence after which a peer is pinged ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// ... and the time within which it must answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The configuration and services that all workers of a port peer_limit.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) services: Services,
    pub(super) tls: Option<Arc<ReloadingTls>>,
    pub(super) limits: Limits,
    pub(super) peer_limit: PeerLimitLayer,
    pub(super) connection_limits: ConnectionLimits,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) http: auto::Builder<TokioExecutor>,
}

impl Port {
    /// Creates a port that trusts no proxy.
    pub(super) fn new(
        services: Services,
        tls: Option<Arc<ReloadingTls>>,
        limits: &Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let (peer_limit, connection_limits) = (PeerLimitLayer::new(limits), ConnectionLimits::new(limits));
        let (limits, http, forwarding) = (limits.clone(), http(limits), Arc::default());
        Self { services, tls, limits, peer_limit, connection_limits, forwarding, phase, http }
    }

    /// Returns the same port behind trusted proxies.
    pub(super) fn behind(self, proxies: &[Network], forwarding: Arc<Forwarding>) -> Self {
        Self { connection_limits: self.connection_limits.behind(proxies, Arc::clone(&forwarding)), forwarding, ..self }
    }
}

/// Builds the HTTP/1.1 and HTTP/2 server with its limits. The rest has sufficient defaults: 100 header fields
/// in HTTP/1.1, streams that the peer resets.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        // The connection enforces both limits; this setting makes hyper notice the end of a request.
        .header_read_timeout(limits.http1_idle_timeout + limits.request_timeout)
        .max_buf_size(header_bytes.max(HTTP_1_BUFFER_BYTES_MIN));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    http
}
