//! TCP connections, limited in number. Each goes to the worker with the fewest connections.
//!
//! There is one acceptor for all workers, not one listening socket each (SO_REUSEPORT). gRPC connections live
//! for hours, and the kernel's hash over addresses would leave some cores idle while others queue.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use token_issuer::origin::Peer;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use crate::{
    config::Limits,
    connection::{Forwarding, Network},
};

/// The number of connections that the kernel queues until they are accepted.
const BACKLOG: u32 = 1024;
/// The pause after a failure to accept that the peer did not cause (no file descriptors left). Prevents a
/// busy loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

const REFUSED: &str = "token_server_connections_refused_total";

/// Opens a listening socket.
///
/// # Errors
///
/// If the address is in use, or does not belong to this machine.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closing connections of an earlier run must not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) stream: std::net::TcpStream,
    pub(crate) peer: Peer,
    pub(crate) permit: ConnectionPermit,
}

/// A permit for one connection. It counts against the limit of all connections, its peer's and its worker's,
/// and is released on drop.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    of_worker: Arc<AtomicUsize>,
    /// `None` if the peer is a proxy, whose connections belong to many peers.
    _of_peer: Option<PeerPermit>,
    _permit: OwnedSemaphorePermit,
}

/// The connection limits, in total and per peer, and the proxies that are trusted.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLimits {
    all: Arc<Semaphore>,
    per_peer_max: usize,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
    /// Proxies that name the peer by the PROXY protocol. Empty if the port does not use it.
    proxies: Arc<[Network]>,
    forwarding: Arc<Forwarding>,
}

impl ConnectionLimits {
    pub(crate) fn new(limits: &Limits) -> Self {
        let per_peer_max = if limits.connections_per_peer == 0 { usize::MAX } else { limits.connections_per_peer };
        let all = Arc::new(Semaphore::new(limits.connections));
        Self { all, per_peer_max, peers: Arc::default(), proxies: Arc::default(), forwarding: Arc::default() }
    }

    /// Returns the same limits behind proxies. `proxies` speak the PROXY protocol; those in `forwarding`
    /// write a header field.
    pub(crate) fn behind(self, proxies: &[Network], forwarding: Arc<Forwarding>) -> Self {
        Self { proxies: proxies.into(), forwarding, ..self }
    }

    /// Returns true if each connection must begin with a PROXY header.
    pub(crate) fn demands_proxy_protocol(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Counts a connection for the peer that a proxy named.
    pub(crate) fn count(&self, permit: &mut ConnectionPermit, peer: Peer) -> io::Result<()> {
        if !self.forwarding.trusts(peer) {
            permit._of_peer = Some(self.peer_permit(peer).ok_or(io::ErrorKind::QuotaExceeded)?);
        }
        Ok(())
    }

    /// Returns the peer's own permit, if it needs one. `Err` for a peer that may not connect.
    fn arrived(&self, address: IpAddr) -> Result<Option<PeerPermit>, ()> {
        let peer = Peer::from(address);
        let proxied = self.demands_proxy_protocol();
        if proxied && !self.proxies.iter().any(|network| network.contains(address)) {
            metrics::counter!(REFUSED).increment(1);
            return Err(());
        }
        if proxied || self.forwarding.trusts(peer) {
            return Ok(None);
        }
        self.peer_permit(peer).map(Some).ok_or(())
    }

    fn peer_permit(&self, peer: Peer) -> Option<PeerPermit> {
        let peer = peer.network();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = peers.entry(peer).or_default();
        if *connections >= self.per_peer_max {
            metrics::counter!(REFUSED).increment(1);
            return None;
        }
        *connections += 1;
        Some(PeerPermit { peer, peers: Arc::clone(&self.peers) })
    }
}

/// A connection counted for its peer. A peer without connections is removed, so the table never exceeds the
/// number of connections.
#[derive(Debug)]
struct PeerPermit {
    peer: Peer,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Drop for PeerPermit {
    fn drop(&mut self) {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(connections) = peers.get_mut(&self.peer) {
            *connections -= 1;
            if *connections == 0 {
                peers.remove(&self.peer);
            }
        }
    }
}

impl ConnectionPermit {
    fn new(queue: &WorkerQueue, peer_permit: Option<PeerPermit>, permit: OwnedSemaphorePermit) -> Self {
        queue.connections.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("token_server_connections").increment(1);
        Self { of_worker: Arc::clone(&queue.connections), _of_peer: peer_permit, _permit: permit }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("token_server_connections").decrement(1);
    }
}

/// The acceptor's side of a worker's queue of connections.
#[derive(Clone, Debug)]
pub(crate) struct WorkerQueue {
    arrivals: mpsc::UnboundedSender<Arrival>,
    connections: Arc<AtomicUsize>,
}

impl WorkerQueue {
    /// Creates both sides of the queue. It is unbounded because the permits are bounded.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        (Self { arrivals, connections: Arc::default() }, receiver)
    }

    /// Returns the number of connections that the worker has.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Accepts until dropped.
pub(crate) async fn accept(listener: TcpListener, connection_limits: ConnectionLimits, queues: Vec<WorkerQueue>) {
    loop {
        // At the limit, connections wait in the backlog.
        let Ok(permit) = Arc::clone(&connection_limits.all).acquire_owned().await else { return };
        let (stream, address) = next(&listener).await;
        let Some(queue) = queues.iter().min_by_key(|queue| queue.connections()) else { return };
        // A peer's excess connections are closed, not queued: in the queue they would block other peers.
        let Ok(peer_permit) = connection_limits.arrived(address.ip()) else { continue };
        let permit = ConnectionPermit::new(queue, peer_permit, permit);
        if let Err(error) = hand_over((stream, Peer::from(address.ip())), permit, queue) {
            tracing::debug!(%error, "connection dropped");
        }
    }
}

async fn next(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(arrived) => return arrived,
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

fn hand_over((stream, peer): (TcpStream, Peer), permit: ConnectionPermit, queue: &WorkerQueue) -> io::Result<()> {
    // Without it, the last segment of a response waits for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // The worker is gone only if the server stops; the connection then closes here.
    let _ = queue.arrivals.send(Arrival { stream, peer, permit });
    Ok(())
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_peer_is_remembered_no_longer_than_its_connections() {
        let connection_limits = ConnectionLimits::new(&Limits { connections_per_peer: 2, ..Limits::default() });
        let peer = |n: u32| Peer::from(IpAddr::V4(Ipv4Addr::from(n)));
        let held: Vec<_> =
            (0..10_000).flat_map(|n| (0..3).map(move |_| n)).map(|n| connection_limits.peer_permit(peer(n))).collect();
        assert_eq!(held.iter().flatten().count(), 20_000, "the third of each is refused");
        assert_eq!(connection_limits.peers.lock().unwrap().len(), 10_000);
        drop(held);
        assert!(connection_limits.peers.lock().unwrap().is_empty());
    }
}
