//! One TCP connection from start to end: its peer, TLS, HTTP, and the time limits for a silent or slow peer.

use std::{
    convert::Infallible,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use token_issuer::origin::Peer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    time::{Instant, Sleep},
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};

use super::{
    inbound::Inbound,
    middleware::peer_limit::HeadBytes,
    port::Port,
    transport::{
        accept::{Arrival, ConnectionPermit},
        overload::is_behind,
        phase::{Phase, reached},
        proxy_protocol,
        tls::ReloadingTls,
    },
};
use crate::connection::ConnectionInfo;

/// The first bytes of every HTTP/2 connection. RFC 9113 section 3.4.
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves a connection to its end, then drops `_alive`.
pub(super) async fn serve(port: Arc<Port>, arrival: Arrival, _alive: mpsc::Sender<Infallible>) {
    let (begun, limit) = (Instant::now(), port.limits.handshake_timeout);
    let ready = tokio::select! {
        ready = tokio::time::timeout_at(begun + limit, prepare(&port, arrival)) => ready,
        // No request has been made yet.
        () = reached(port.phase.clone(), Phase::Draining) => return,
    };
    match ready {
        Ok(Ok(Prepared::Plain(connection))) => Box::pin(run(&port, *connection)).await,
        Ok(Ok(Prepared::Tls(connection))) => Box::pin(run(&port, *connection)).await,
        Ok(Err(Unprepared::Tls(error))) => refused("failed", &error),
        Ok(Err(Unprepared::Other(error))) => tracing::debug!(%error, "connection dropped"),
        Err(elapsed) if port.tls.is_some() => refused("timed out", &elapsed),
        Err(_) => tracing::debug!("connection dropped: its PROXY header did not come in time"),
    }
}

/// A connection that is ready for HTTP.
enum Prepared {
    Plain(Box<Connection<TcpStream>>),
    Tls(Box<Connection<TlsStream<TcpStream>>>),
}

enum Unprepared {
    Tls(io::Error),
    Other(io::Error),
}

async fn prepare(port: &Port, arrival: Arrival) -> Result<Prepared, Unprepared> {
    let Arrival { stream, mut peer, mut permit } = arrival;
    let mut stream = TcpStream::from_std(stream).map_err(Unprepared::Other)?;
    if port.connection_limits.demands_proxy_protocol() {
        let address = proxy_protocol::read(&mut stream).await.map_err(Unprepared::Other)?;
        peer = address.map_or(peer, Peer::from);
        // From here on, the connection counts for the peer that the proxy named.
        port.connection_limits.count(&mut permit, peer).map_err(Unprepared::Other)?;
    }
    // Each connection uses the configuration that is current when it begins.
    Ok(match &port.tls {
        None => Prepared::Plain(Box::new(Connection::new(stream, port, ConnectionInfo::new(peer, false), permit))),
        Some(tls) => {
            let stream = handshake(stream, tls).await.map_err(Unprepared::Tls)?;
            let line = ConnectionInfo::new(peer, stream.get_ref().1.peer_certificates().is_some());
            Prepared::Tls(Box::new(Connection::new(stream, port, line, permit)))
        }
    })
}

async fn handshake(stream: TcpStream, tls: &ReloadingTls) -> io::Result<TlsStream<TcpStream>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    start.into_stream(tls.config()).await
}

fn refused(outcome: &'static str, error: &(dyn std::error::Error + 'static)) {
    metrics::counter!("token_server_tls_handshakes_failed_total").increment(1);
    tracing::debug!(error, "TLS handshake {outcome}");
}

/// Serves HTTP until the connection ends. Asks the peer to close when the connection is too old or the server
/// drains.
async fn run<IO>(port: &Port, connection: Connection<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cut = connection.line.cut.clone();
    let inbound = Inbound::new(port, connection.line.clone(), Arc::clone(&connection.head_bytes));
    let mut serving = pin!(port.http.serve_connection(TokioIo::new(connection), inbound));
    let mut age = pin!(tokio::time::sleep(port.limits.connection_age));
    let mut drain = pin!(reached(port.phase.clone(), Phase::Draining));
    let mut cut = pin!(cut.wait());
    let (mut aged, mut draining) = (false, false);
    loop {
        tokio::select! {
            biased;
            served = serving.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!(%error, "connection failed");
                }
                return;
            }
            // Dropped as it is: a peer that does not read would not read a farewell.
            () = &mut cut => return,
            () = &mut age, if !aged => {
                aged = true;
                serving.as_mut().graceful_shutdown();
            }
            () = &mut drain, if !draining => {
                draining = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The time limits for a peer.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until the first byte.
    first: Duration,
    /// From the first byte of a head to its last.
    head: Duration,
    /// Between two requests.
    idle: Duration,
}

/// The protocol of a connection, as far as its bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HttpVersion {
    /// The number of bytes of the HTTP/2 preface received.
    Unknown(usize),
    Http1,
    /// HTTP/2 pings detect a dead peer by themselves.
    Http2,
}

/// The event that the peer is expected to cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    First,
    /// The head of the request with this number.
    Head(u32),
    /// Any request after that many.
    Idle(u32),
}

/// A connection that counts for its peer and is closed if the peer is silent or slow.
///
/// HTTP servers wait without limit for the bytes that tell HTTP/1.1 from HTTP/2. They also have a single
/// limit for an idle connection and for a head that trickles in.
#[derive(Debug)]
struct Connection<IO> {
    io: IO,
    line: ConnectionInfo,
    patience: Patience,
    protocol: HttpVersion,
    /// The number of requests before the head that has partly arrived.
    head_begun: Option<u32>,
    head_bytes: Arc<HeadBytes>,
    /// The last read was postponed in favour of other connections.
    stood_back: bool,
    /// The expected event. Its deadline is in `deadline`.
    waiting: Option<Wait>,
    deadline: Pin<Box<Sleep>>,
    _place: ConnectionPermit,
}

impl<IO> Connection<IO> {
    fn new(io: IO, port: &Port, line: ConnectionInfo, permit: ConnectionPermit) -> Self {
        let limits = &port.limits;
        let patience =
            Patience { first: limits.handshake_timeout, head: limits.request_timeout, idle: limits.http1_idle_timeout };
        Self {
            io,
            head_bytes: port.peer_limit.head(line.peer),
            line,
            patience,
            protocol: HttpVersion::Unknown(0),
            head_begun: None,
            stood_back: false,
            waiting: None,
            deadline: Box::pin(tokio::time::sleep(patience.first)),
            _place: permit,
        }
    }

    /// Records the bytes read. Returns false if the peer has more bytes in flight than allowed.
    fn has_read(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() {
            return true;
        }
        if let HttpVersion::Unknown(known) = self.protocol {
            let expected = HTTP_2_PREFACE.get(known..).unwrap_or_default();
            let length = bytes.len().min(expected.len());
            self.protocol = match (bytes.get(..length) == expected.get(..length), known + length) {
                (true, all) if all == HTTP_2_PREFACE.len() => HttpVersion::Http2,
                (true, part) => HttpVersion::Unknown(part),
                (false, _) => HttpVersion::Http1,
            };
        }
        if self.protocol == HttpVersion::Http2 {
            self.head_bytes.release();
            return true;
        }
        let requests = self.line.activity.requests();
        if self.line.activity.is_idle() {
            if self.head_begun != Some(requests) {
                self.head_bytes.release();
            }
            self.head_begun = Some(requests);
            return self.head_bytes.charge(bytes.len());
        }
        self.head_bytes.release();
        true
    }

    /// Returns the event that the peer is expected to cause, or `None` while its request is being answered.
    fn wait(&self) -> Option<Wait> {
        let activity = &self.line.activity;
        match self.protocol {
            HttpVersion::Http2 => None,
            HttpVersion::Unknown(0) => Some(Wait::First),
            HttpVersion::Unknown(_) | HttpVersion::Http1 => activity.is_idle().then(|| {
                let requests = activity.requests();
                if self.head_begun == Some(requests) { Wait::Head(requests) } else { Wait::Idle(requests) }
            }),
        }
    }

    /// Ready when the peer has exceeded its time limit.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let wait = self.wait();
        if wait != self.waiting {
            self.waiting = wait;
            let patience = match wait {
                None => return Poll::Pending,
                Some(Wait::First) => self.patience.first,
                Some(Wait::Head(_)) => self.patience.head,
                Some(Wait::Idle(_)) => self.patience.idle,
            };
            self.deadline.as_mut().reset(Instant::now() + patience);
        }
        if wait.is_none() { Poll::Pending } else { self.deadline.as_mut().poll(cx) }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Postpones every second read while earlier requests are still queued.
        self.stood_back = !self.stood_back && is_behind();
        if self.stood_back {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.line.activity.note_read();
            let fits = self.has_read(buf.filled().get(before..).unwrap_or_default());
            return if fits { read } else { Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into())) };
        }
        ready!(self.poll_patience(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Connection<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
