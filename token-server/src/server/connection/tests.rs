//! A connection whose peer does not read, on loopback.

use std::time::Duration;

use axum::{Extension, Router, body::Body, routing};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::{AuditFailure, Limits},
    connection::{ConnectionInfo, Cut},
    server::{
        middleware::{concurrency_limit::ConcurrencyLimitLayer, recordable::RecordableLayer},
        port::Port,
        routes, serve,
        transport::{accept, phase::Phase},
    },
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// SETTINGS_INITIAL_WINDOW_SIZE is 0: RFC 9113 section 6.5.2.
const NO_WINDOW: [u8; 15] = [0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
/// GET / over http, from the static table of RFC 7541, with the authority `a`. It ends stream 1.
const GET: [u8; 15] = [0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'a'];
const HEADERS: u8 = 1;

/// Waits for the head of an answer.
async fn answered(stream: &mut TcpStream) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
        if head[3] == HEADERS {
            return;
        }
    }
}

/// Without a window, the server cannot even end the stream. It must close the connection.
#[tokio::test]
async fn a_cut_connection_closes_although_its_window_is_closed() {
    let (seen, mut cuts) = mpsc::unbounded_channel::<Cut>();
    let endless = async move |Extension(line): Extension<ConnectionInfo>| {
        seen.send(line.cut).unwrap();
        Body::from(vec![0; 1024 * 1024])
    };
    let limits = Limits::default();
    let recordable = RecordableLayer::new(None, AuditFailure::Continue);
    let services = routes::only(
        Router::new().route("/", routing::get(endless)),
        &ConcurrencyLimitLayer::new(&limits),
        &recordable,
    );
    let phase = watch::Sender::new(Phase::Serving);
    let port = Port::new(services, None, &limits, phase.subscribe());
    let listener = accept::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut accepting = JoinSet::new();
    let workers = serve(listener, &port, 1, &mut accepting).unwrap();

    stream.write_all(&[PREFACE, &NO_WINDOW, &GET].concat()).await.unwrap();
    answered(&mut stream).await;
    let cut = cuts.recv().await.unwrap();
    assert_eq!(workers[0].queue.connections(), 1, "it is held open by the answer that is not read");
    cut.cut();
    let closed = timeout(Duration::from_secs(30), stream.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "the connection is still open");
    phase.send_replace(Phase::Stopped);
}
