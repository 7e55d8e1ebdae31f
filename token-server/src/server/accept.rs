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
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Closing connections of an earlier run must not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: Peer,
    pub(super) place: Place,
}

/// A permit for one connection. It counts against the limit of all connections, its peer's and its worker's,
/// and is released on drop.
#[derive(Debug)]
pub(super) struct Place {
    of_worker: Arc<AtomicUsize>,
    /// `None` if the peer is a proxy, whose connections belong to many peers.
    _of_peer: Option<OfPeer>,
    _permit: OwnedSemaphorePermit,
}

/// The connection limits, in total and per peer, and the proxies that are trusted.
#[derive(Clone, Debug)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    per_peer_max: usize,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
    /// Proxies that name the peer by the PROXY protocol. Empty if the port does not use it.
    proxies: Arc<[Network]>,
    forwarding: Arc<Forwarding>,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Self {
        let per_peer_max = if limits.connections_per_peer == 0 { usize::MAX } else { limits.connections_per_peer };
        let all = Arc::new(Semaphore::new(limits.connections));
        Self { all, per_peer_max, peers: Arc::default(), proxies: Arc::default(), forwarding: Arc::default() }
    }

    /// Returns the same limits behind proxies. `proxies` speak the PROXY protocol; those in `forwarding`
    /// write a header field.
    pub(super) fn behind(self, proxies: &[Network], forwarding: Arc<Forwarding>) -> Self {
        Self { proxies: proxies.into(), forwarding, ..self }
    }

    /// Returns true if each connection must begin with a PROXY header.
    pub(super) fn demands_proxy_protocol(&self) -> bool {
        !self.proxies.is_empty()
    }

    /// Counts a connection for the peer that a proxy named.
    pub(super) fn count(&self, place: &mut Place, peer: Peer) -> io::Result<()> {
        if !self.forwarding.trusts(peer) {
            place._of_peer = Some(self.of_peer(peer).ok_or(io::ErrorKind::QuotaExceeded)?);
        }
        Ok(())
    }

    /// Returns the peer's own permit, if it needs one. `Err` for a peer that may not connect.
    fn arrived(&self, address: IpAddr) -> Result<Option<OfPeer>, ()> {
        let peer = Peer::from(address);
        let proxied = self.demands_proxy_protocol();
        if proxied && !self.proxies.iter().any(|network| network.contains(address)) {
            metrics::counter!(REFUSED).increment(1);
            return Err(());
        }
        if proxied || self.forwarding.trusts(peer) {
            return Ok(None);
        }
        self.of_peer(peer).map(Some).ok_or(())
    }

    fn of_peer(&self, peer: Peer) -> Option<OfPeer> {
        let peer = peer.network();
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = peers.entry(peer).or_default();
        if *connections >= self.per_peer_max {
            metrics::counter!(REFUSED).increment(1);
            return None;
        }
        *connections += 1;
        Some(OfPeer { peer, peers: Arc::clone(&self.peers) })
    }
}

/// A connection counted for its peer. A peer without connections is removed, so the table never exceeds the
/// number of connections.
#[derive(Debug)]
struct OfPeer {
    peer: Peer,
    peers: Arc<Mutex<HashMap<Peer, usize>>>,
}

impl Drop for OfPeer {
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

impl Place {
    fn new(desk: &Desk, of_peer: Option<OfPeer>, permit: OwnedSemaphorePermit) -> Self {
        desk.connections.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("token_server_connections").increment(1);
        Self { of_worker: Arc::clone(&desk.connections), _of_peer: of_peer, _permit: permit }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("token_server_connections").decrement(1);
    }
}

/// The acceptor's side of a worker's queue of connections.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    arrivals: mpsc::UnboundedSender<Arrival>,
    connections: Arc<AtomicUsize>,
}

impl Desk {
    /// Creates both sides of the queue. It is unbounded because the permits are bounded.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        (Self { arrivals, connections: Arc::default() }, receiver)
    }

    /// Returns the number of connections that the worker has.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Accepts until dropped.
pub(super) async fn accept(listener: TcpListener, places: Places, desks: Vec<Desk>) {
    loop {
        // At the limit, connections wait in the backlog.
        let Ok(permit) = Arc::clone(&places.all).acquire_owned().await else { return };
        let (stream, address) = next(&listener).await;
        let Some(desk) = desks.iter().min_by_key(|desk| desk.connections()) else { return };
        // A peer's excess connections are closed, not queued: in the queue they would block other peers.
        let Ok(of_peer) = places.arrived(address.ip()) else { continue };
        let place = Place::new(desk, of_peer, permit);
        if let Err(error) = hand_over((stream, Peer::from(address.ip())), place, desk) {
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

fn hand_over((stream, peer): (TcpStream, Peer), place: Place, desk: &Desk) -> io::Result<()> {
    // Without it, the last segment of a response waits for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    // The worker is gone only if the server stops; the connection then closes here.
    let _ = desk.arrivals.send(Arrival { stream, peer, place });
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
        let places = Places::new(&Limits { connections_per_peer: 2, ..Limits::default() });
        let peer = |n: u32| Peer::from(IpAddr::V4(Ipv4Addr::from(n)));
        let held: Vec<_> = (0..10_000).flat_map(|n| (0..3).map(move |_| n)).map(|n| places.of_peer(peer(n))).collect();
        assert_eq!(held.iter().flatten().count(), 20_000, "the third of each is refused");
        assert_eq!(places.peers.lock().unwrap().len(), 10_000);
        drop(held);
        assert!(places.peers.lock().unwrap().is_empty());
    }
}
