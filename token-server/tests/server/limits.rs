//! What one connection, and all of them together, may take.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{exchange, get, plaintext, read_to_end};

#[tokio::test]
async fn connection_that_stays_silent_is_cut_off() {
    let (_folder, server) = plaintext(|config| config.limits.handshake_timeout = Duration::from_millis(20)).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let (_folder, server) = plaintext(|config| config.limits.connections = 1).await;
    let address = server.local_addr();
    let mut first = TcpStream::connect(address).await.unwrap();
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answered = [0; 12];
    first.read_exact(&mut answered).await.unwrap();
    assert_eq!(&answered, b"HTTP/1.1 200");

    let second = get(address, "/healthz");
    let mut second = std::pin::pin!(second);
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut second).await.is_err());
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_are_spread_evenly_over_the_workers() {
    let (_folder, server) = plaintext(|config| config.listen.threads = 4).await;
    let server = Arc::new(server);
    let mut streams = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        stream.read_u8().await.unwrap();
        streams.push(stream);
    }
    assert_eq!(server.connections(), [5; 4]);
}

#[tokio::test]
async fn oversized_requests_get_an_answer_of_the_4xx_kind() {
    let (_folder, server) = plaintext(|_| {}).await;
    let long = "x".repeat(1_000_000);
    let header = exchange(
        server.local_addr(),
        &format!("GET /jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx-long: {long}\r\n\r\n"),
    )
    .await;
    assert!(header.starts_with("HTTP/1.1 431"), "{header}");
    let body = exchange(
        server.local_addr(),
        &format!(
            "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{long}",
            long.len()
        ),
    )
    .await;
    assert!(body.starts_with("HTTP/1.1 413"), "{body}");
}
