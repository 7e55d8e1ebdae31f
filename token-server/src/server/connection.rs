//! A TCP connection → a connection ready for HTTP: TLS, within a time limit, and not silent for ever.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::mpsc,
    time::Sleep,
};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::transport::server::Connected;

use super::{
    accept::{Arrival, Place},
    lateness::is_behind,
    tls::ReloadingTls,
};
use crate::origin::{LastRead, Line, Peer};

/// Handshakes that are done and wait for the server to take them.
const READY_MAX: usize = 64;

/// Connections in plaintext.
pub(super) fn plaintext(
    arrivals: mpsc::UnboundedReceiver<Arrival>,
    timeout: Duration,
) -> impl Stream<Item = io::Result<Connection<TcpStream>>> {
    UnboundedReceiverStream::new(arrivals).map(move |arrival| {
        let stream = TcpStream::from_std(arrival.stream)?;
        Ok(Connection::new(stream, arrival.peer, arrival.place, timeout))
    })
}

/// Connections over TLS, each under the configuration that is current when it begins.
pub(super) fn tls(
    mut arrivals: mpsc::UnboundedReceiver<Arrival>,
    tls: Arc<ReloadingTls>,
    timeout: Duration,
) -> impl Stream<Item = io::Result<Connection<TlsStream<TcpStream>>>> {
    let (ready, connections) = mpsc::channel(READY_MAX);
    tokio::spawn(async move {
        while let Some(arrival) = arrivals.recv().await {
            let (tls, ready) = (Arc::clone(&tls), ready.clone());
            // Each handshake in a task of its own: a slow peer delays nobody.
            tokio::spawn(async move {
                match tokio::time::timeout(timeout, handshake(arrival.stream, &tls)).await {
                    Ok(Ok(stream)) => {
                        // The receiver is gone only when the server stops.
                        let _ = ready.send(Ok(Connection::new(stream, arrival.peer, arrival.place, timeout))).await;
                    }
                    Ok(Err(error)) => refused("failed", &error),
                    Err(elapsed) => refused("timed out", &elapsed),
                }
            });
        }
    });
    ReceiverStream::new(connections)
}

async fn handshake(stream: std::net::TcpStream, tls: &ReloadingTls) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::from_std(stream)?;
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    start.into_stream(tls.config()).await
}

fn refused(outcome: &'static str, error: &(dyn std::error::Error + 'static)) {
    metrics::counter!("token_server_tls_handshakes_failed_total").increment(1);
    tracing::debug!(error, "TLS handshake {outcome}");
}

/// A connection that holds its place, and is cut off when it is silent at first: HTTP servers wait without
/// limit for the bytes that tell HTTP/1.1 from HTTP/2.
#[derive(Debug)]
pub(super) struct Connection<IO> {
    io: IO,
    line: Line,
    /// It has let the others go before it.
    stood_back: bool,
    silence: Option<Pin<Box<Sleep>>>,
    _place: Place,
}

impl<IO> Connection<IO> {
    fn new(io: IO, peer: Peer, place: Place, timeout: Duration) -> Self {
        let line = Line { peer, last_read: LastRead::new() };
        Self { io, line, stood_back: false, silence: Some(Box::pin(tokio::time::sleep(timeout))), _place: place }
    }
}

impl<IO> Connected for Connection<IO> {
    type ConnectInfo = Line;

    fn connect_info(&self) -> Line {
        self.line.clone()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Connection<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // One read a round, while those who were read before are still waiting.
        self.stood_back = !self.stood_back && is_behind();
        if self.stood_back {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready() {
            self.line.last_read.note();
        }
        let Some(silence) = &mut self.silence else { return read };
        if read.is_ready() {
            self.silence = None;
            return read;
        }
        ready!(silence.as_mut().poll(cx));
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
