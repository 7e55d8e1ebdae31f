//! TCP connections, bounded in number, each to the worker that has the fewest.
//!
//! One acceptor for all workers, rather than one listening socket each (SO_REUSEPORT): gRPC connections live
//! for hours, and the kernel's hash over addresses leaves some cores idle while others queue.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;
/// After a failure to accept that is not the peer's doing (no file descriptors left), so as not to spin.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A listening socket.
///
/// # Errors
///
/// When the address is taken, or not this machine's.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of an earlier run that are still closing do not keep the port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A connection on its way to a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: std::net::TcpStream,
    pub(super) place: Place,
}

/// A connection's place among those that are allowed, and among its worker's; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    of_worker: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of_worker.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("token_server_connections").decrement(1);
    }
}

/// Where a worker takes its connections from.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    arrivals: mpsc::UnboundedSender<Arrival>,
    connections: Arc<AtomicUsize>,
}

impl Desk {
    /// A worker's side and the acceptor's. Unbounded: the places are not.
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<Arrival>) {
        let (arrivals, receiver) = mpsc::unbounded_channel();
        (Self { arrivals, connections: Arc::default() }, receiver)
    }

    /// How many connections the worker has.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Accepts until dropped.
pub(super) async fn accept(listener: TcpListener, connections_max: usize, desks: Vec<Desk>) {
    let permits = Arc::new(Semaphore::new(connections_max));
    loop {
        // Beyond the limit connections wait in the backlog.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let stream = next(&listener).await;
        let Some(desk) = desks.iter().min_by_key(|desk| desk.connections()) else { return };
        if let Err(error) = hand_over(stream, permit, desk) {
            tracing::debug!(%error, "connection dropped");
        }
    }
}

async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }
}

fn hand_over(stream: TcpStream, permit: OwnedSemaphorePermit, desk: &Desk) -> io::Result<()> {
    // Without it the last segment of an answer waits for the peer's delayed acknowledgement.
    stream.set_nodelay(true)?;
    let stream = stream.into_std()?;
    desk.connections.fetch_add(1, Ordering::Relaxed);
    metrics::gauge!("token_server_connections").increment(1);
    let place = Place { of_worker: Arc::clone(&desk.connections), _permit: permit };
    // A worker that is gone is so because the server stops; the connection closes here.
    let _ = desk.arrivals.send(Arrival { stream, place });
    Ok(())
}

fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    [ConnectionAborted, ConnectionRefused, ConnectionReset].contains(&error.kind())
}
