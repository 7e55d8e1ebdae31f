//! Connections of a simulated network, for tonic, hyper and axum. Every host listens on one port.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use hyper_util::{client::legacy::connect, rt::TokioIo};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::{
    Channel, Endpoint,
    server::{Connected, TcpConnectInfo},
};
use turmoil::net::{TcpListener, TcpStream};

const PORT: u16 = 80;

/// One end of a connection.
pub(crate) struct Io(pub(crate) TcpStream);

pub(crate) async fn connect(uri: http::Uri) -> io::Result<TokioIo<Io>> {
    let host = uri.host().unwrap_or_default().to_owned();
    Ok(TokioIo::new(Io(TcpStream::connect((host, PORT)).await?)))
}

pub(crate) async fn listen() -> io::Result<TcpListener> {
    TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await
}

/// Returns the incoming connections of a simulated host.
pub(crate) async fn connections() -> io::Result<impl Stream<Item = io::Result<Io>>> {
    Ok(futures_util::stream::unfold(listen().await?, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| Io(stream));
        Some((accepted, listener))
    }))
}

/// A lazy gRPC channel to a host of the simulation, with the keepalive that the library sets on its own.
pub(crate) fn channel(host: &'static str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{host}"))
        .unwrap()
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5));
    endpoint.connect_with_connector_lazy(tower::service_fn(|uri| Box::pin(connect(uri))))
}

impl Connected for Io {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo { local_addr: self.0.local_addr().ok(), remote_addr: self.0.peer_addr().ok() }
    }
}

impl connect::Connection for Io {
    fn connected(&self) -> connect::Connected {
        connect::Connected::new()
    }
}

impl AsyncRead for Io {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
