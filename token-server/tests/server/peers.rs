//! The peer of a request, and the limits of each peer: by address, by the PROXY protocol, by a forwarded
//! field.

use std::net::SocketAddr;

use token_server::{
    config::Config,
    connection::{ForwardedField, Forwarding},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{plaintext, read_to_end};

/// A connection from one of the addresses of loopback.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Returns the answer to those bytes, up to the end of the connection.
async fn answer(from: &str, to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(from, to).await;
    // The server may have closed it already.
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

const GET: &[u8] = b"GET /jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

fn behind_proxy(config: &mut Config) {
    config.listen.proxy_protocol_from = vec!["127.0.0.1".parse().unwrap()];
}

fn proxied(source: &str, request: &[u8]) -> Vec<u8> {
    [format!("PROXY TCP4 {source} 192.0.2.200 5000 443\r\n").as_bytes(), request].concat()
}

fn version_2(source: [u8; 4], request: &[u8]) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
    [&start[..], &source, &[192, 0, 2, 200, 0x10, 0, 1, 187], request].concat()
}

#[tokio::test]
async fn proxy_header_is_demanded_and_only_of_the_proxies() {
    let (_folder, server) = plaintext(behind_proxy).await;
    let address = server.local_addr();
    for good in [proxied("192.0.2.1", GET), version_2([192, 0, 2, 1], GET), [b"PROXY UNKNOWN\r\n", GET].concat()] {
        assert!(answer("127.0.0.1", address, &good).await.starts_with("HTTP/1.1 200"), "{good:?}");
        assert_eq!(answer("127.0.0.2", address, &good).await, "", "not one of the proxies");
    }
    assert_eq!(answer("127.0.0.1", address, GET).await, "", "without a header");
    assert_eq!(answer("127.0.0.1", address, b"PROXY TCP4 a b c d\r\n").await, "");
}

#[tokio::test]
async fn proxy_header_is_no_request_where_it_is_not_configured() {
    let (_folder, server) = plaintext(|_| {}).await;
    for header in [proxied("192.0.2.1", GET), version_2([192, 0, 2, 1], GET)] {
        assert!(!answer("127.0.0.1", server.local_addr(), &header).await.contains(" 200 "));
    }
}

#[tokio::test]
async fn connections_count_as_those_of_the_peer_behind_the_proxy() {
    let (_folder, server) = plaintext(|config| {
        behind_proxy(config);
        config.limits.connections_per_peer = 1;
    })
    .await;
    let address = server.local_addr();
    let mut first = connect("127.0.0.1", address).await;
    first.write_all(&proxied("192.0.2.1", b"GET /healthz HTTP/1.1\r\nhost: a\r\n\r\n")).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'H');
    assert_eq!(answer("127.0.0.1", address, &proxied("192.0.2.1", GET)).await, "");
    assert_eq!(answer("127.0.0.1", address, &version_2([192, 0, 2, 1], GET)).await, "");
    assert!(answer("127.0.0.1", address, &proxied("192.0.2.2", GET)).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn silent_proxied_connection_is_cut_off() {
    let (_folder, server) = plaintext(|config| {
        behind_proxy(config);
        config.limits.handshake_timeout = std::time::Duration::from_millis(20);
    })
    .await;
    assert_eq!(answer("127.0.0.1", server.local_addr(), b"").await, "");
    assert_eq!(answer("127.0.0.1", server.local_addr(), b"PROXY TCP4 192.0.2.1").await, "");
}

/// A request with that field whose body does not come, although the server has asked for it.
async fn stuck(from: &str, to: SocketAddr, field: &str) -> TcpStream {
    let mut stream = connect(from, to).await;
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n{field}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    stream
}

fn with(field: &str) -> Vec<u8> {
    format!("GET /jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{field}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn requests_count_as_those_of_the_peer_that_a_proxy_forwards() {
    for (field, name) in
        [(ForwardedField::XForwardedFor, "x-forwarded-for: "), (ForwardedField::Forwarded, "forwarded: for=")]
    {
        let (_folder, server) = plaintext(|config| {
            config.listen.forwarding = Forwarding { from: vec!["127.0.0.1".parse().unwrap()], field };
            config.limits.requests_at_once_per_peer = 1;
            config.limits.connections_per_peer = 2;
        })
        .await;
        let address = server.local_addr();
        let of = |peer: &str| format!("{name}{peer}");
        let _first = stuck("127.0.0.1", address, &of("192.0.2.1")).await;
        // More connections of the proxy than a peer may have.
        let _second = stuck("127.0.0.1", address, &of("192.0.2.2")).await;
        let _third = stuck("127.0.0.1", address, &of("192.0.2.3")).await;
        let status = async |from: &str, peer: &str| {
            let answer = answer(from, address, &with(&of(peer))).await;
            answer.get(9..12).unwrap_or_default().to_owned()
        };
        assert_eq!(status("127.0.0.1", "192.0.2.1").await, "429");
        assert_eq!(status("127.0.0.1", "192.0.2.4").await, "200");
        // Other peers are not trusted.
        assert_eq!(status("127.0.0.2", "192.0.2.1").await, "200");
    }
}

#[tokio::test]
async fn bytes_of_unfinished_heads_are_bounded_for_each_peer() {
    let (_folder, server) = plaintext(|config| config.limits.bytes_at_once_per_peer = 10_000).await;
    let address = server.local_addr();
    let begun = format!("GET /jwks.json HTTP/1.1\r\nhost: localhost\r\nx-long: {}", "x".repeat(7_000));
    let mut first = connect("127.0.0.1", address).await;
    first.write_all(begun.as_bytes()).await.unwrap();
    // The server has read it once a second one exceeds the limit.
    loop {
        let mut second = connect("127.0.0.1", address).await;
        second.write_all(begun.as_bytes()).await.unwrap();
        let mut byte = [0];
        let closed = tokio::time::timeout(std::time::Duration::from_millis(100), second.read(&mut byte)).await;
        if closed.is_ok() {
            break;
        }
    }
    let whole = [begun.as_bytes(), b"\r\nconnection: close\r\n\r\n"].concat();
    assert!(answer("127.0.0.2", address, &whole).await.starts_with("HTTP/1.1 200"), "another peer");
    drop(first);
    loop {
        if answer("127.0.0.1", address, &whole).await.starts_with("HTTP/1.1 200") {
            break;
        }
    }
}

#[tokio::test]
async fn bytes_of_bodies_in_flight_are_bounded_for_each_peer() {
    let (_folder, server) = plaintext(|config| config.limits.bytes_at_once_per_peer = 50_000).await;
    let address = server.local_addr();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 40000\r\n\r\n";
    let mut first = connect("127.0.0.1", address).await;
    first.write_all([head, &"x".repeat(30_000)].concat().as_bytes()).await.unwrap();
    let whole = [head, &"x".repeat(40_000)].concat();
    loop {
        let status = answer("127.0.0.1", address, whole.as_bytes()).await.get(9..12).unwrap_or_default().to_owned();
        if status == "429" {
            break;
        }
        assert_eq!(status, "400", "the first has not come yet");
    }
    assert!(answer("127.0.0.2", address, whole.as_bytes()).await.starts_with("HTTP/1.1 400"), "another peer");
}
