//! The connection that a request arrived on, and the request's origin.

mod forwarded;
mod network;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Extensions, HeaderMap};
use token_issuer::origin::{Origin, Peer};
use tokio::{sync::watch, time::Instant};
use tonic::transport::server::TcpConnectInfo;

pub use forwarded::{ForwardedField, Forwarding};
pub use network::{Network, NotANetwork};

/// Returns the origin of a request, from the transport's data and the caller's headers.
pub(crate) fn origin(headers: &HeaderMap, extensions: &Extensions) -> Origin {
    Origin::new(peer(extensions), headers)
}

/// Returns the origin of a request whose connection and headers are unknown.
pub(crate) fn unknown_origin() -> Origin {
    Origin::new(Peer::UNKNOWN, &HeaderMap::new())
}

/// Returns the peer, from the transport's data.
pub(crate) fn peer(extensions: &Extensions) -> Peer {
    if let Some(connection) = extensions.get::<ConnectionInfo>() {
        return connection.peer;
    }
    // A transport other than this crate's own.
    let address = extensions.get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    address.map_or(Peer::UNKNOWN, |address| Peer::from(address.ip()))
}

/// The connection that a request arrived on, which the server leaves in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionInfo {
    /// The peer of the connection, or the one behind a trusted proxy.
    pub(crate) peer: Peer,
    pub(crate) activity: Activity,
    /// True if the peer has presented a client certificate, which was verified.
    pub(crate) client_certificate: bool,
    pub(crate) cut: Cut,
}

impl ConnectionInfo {
    /// Creates the information about a new connection.
    pub(crate) fn new(peer: Peer, client_certificate: bool) -> Self {
        Self { peer, activity: Activity::new(), client_certificate, cut: Cut::default() }
    }
}

/// Closes a connection from within one of its requests. Every clone is of the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<watch::Sender<bool>>);

impl Cut {
    /// Closes the connection, with all requests in flight on it.
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
