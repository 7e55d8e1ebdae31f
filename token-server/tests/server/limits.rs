//! The limits of one connection, and of all connections together.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use token_proto::token::v1::{
    IssueTokenRequest, WatchTrustRequest, token_service_client::TokenServiceClient,
    trust_service_client::TrustServiceClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use crate::harness::{channel, development, exchange, get, metrics, observed, plaintext, read_to_end};

async fn over_grpc(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A request that stays in flight, because its body does not come.
async fn stuck(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: it has accepted the request.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    stream
}

#[tokio::test]
async fn one_peer_may_not_have_all_the_connections() {
    let (_folder, server) = observed(|config| config.limits.connections_per_peer = 1).await;
    let address = server.local_addr();
    let first = stuck(address).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_to_end(&mut second).await, "", "closed at once");
    drop(first);
    // The server has to notice first.
    while !get(address, "/jwks.json").await.starts_with("HTTP/1.1 200") {
        tokio::task::yield_now().await;
    }
    assert!(metrics(&server).await.contains("token_server_connections_refused_total"));
}

#[tokio::test]
async fn requests_beyond_what_is_done_at_once_are_refused_at_once_and_probes_are_not() {
    let (_folder, server) = observed(|config| config.limits.requests_at_once = 1).await;
    let address = server.local_addr();
    let first = stuck(address).await;
    let refused = get(address, "/jwks.json").await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("x-request-id: "), "{refused}");
    let channel = over_grpc(address).await;
    let issue = |id: &str| {
        let mut request = Request::new(IssueTokenRequest::default());
        request.metadata_mut().insert("x-request-id", id.parse().unwrap());
        let mut client = TokenServiceClient::new(channel.clone());
        async move { client.issue_token(request).await.unwrap_err() }
    };
    let status = issue("shed").await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "RATE_LIMITED");
    assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    assert_eq!(status.get_details_request_info().unwrap().request_id, "shed");
    assert!(get(server.operations_addr().unwrap(), "/readyz").await.starts_with("HTTP/1.1 200"));
    let request = HealthCheckRequest { service: String::new() };
    assert_eq!(HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status, 1);

    drop(first);
    while issue("later").await.code() == Code::ResourceExhausted {
        tokio::task::yield_now().await;
    }
    assert!(metrics(&server).await.contains("token_server_requests_shed_total{why=\"overload\"}"));
}

#[tokio::test]
async fn a_stream_takes_no_place_among_requests() {
    let (_folder, dev) = development(|config| config.limits.requests_at_once = 1).await;
    let channel = channel(&dev).await;
    let mut trust = TrustServiceClient::new(channel.clone());
    let mut watching = trust.watch_trust(WatchTrustRequest::default()).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().unwrap().snapshot);
    let status = TokenServiceClient::new(channel).issue_token(IssueTokenRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let (_folder, server) = plaintext(|config| config.limits.request_timeout = Duration::from_millis(50)).await;
    let mut stream = stuck(server.local_addr()).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"request_id\":\""), "{answer}");
}

#[tokio::test]
async fn header_lists_beyond_the_limit_are_refused() {
    for (limit, refused) in [(1024, true), (16 * 1024, false)] {
        let (_folder, server) = plaintext(|config| config.limits.header_bytes = limit).await;
        let mut request = Request::new(IssueTokenRequest::default());
        request.metadata_mut().insert("x-long", "x".repeat(4096).parse().unwrap());
        let status = TokenServiceClient::new(over_grpc(server.local_addr()).await).issue_token(request).await;
        let code = status.unwrap_err().code();
        assert_eq!(code != Code::Unauthenticated, refused, "{limit}: {code:?}");
    }
}

fn with_long_field(bytes: usize, host: &str) -> String {
    let long = "x".repeat(bytes);
    format!("GET /jwks.json HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\nx-long: {long}\r\n\r\n")
}

/// Returns true if a head of that size, sent in parts, is rejected. A server that closes with unread bytes
/// may show as a reset alone.
async fn is_refused(address: SocketAddr, bytes: usize, part: usize) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    for part in with_long_field(bytes, "localhost").as_bytes().chunks(part) {
        if stream.write_all(part).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let answer = read_to_end(&mut stream).await;
    let refused = answer.is_empty() || answer.starts_with("HTTP/1.1 431");
    assert!(refused || answer.starts_with("HTTP/1.1 200"), "{answer}");
    refused
}

/// RFC 6585 section 5. Each size in one piece and in many.
#[tokio::test]
async fn heads_over_http_1_beyond_the_limit_are_refused() {
    for (limit, good, bad) in [(1024, 800, 1_100), (16 * 1024, 16_000, 17_000), (64 * 1024, 60_000, 66_000)] {
        let (_folder, server) = plaintext(|config| config.limits.header_bytes = limit).await;
        for part in [usize::MAX, 999] {
            assert!(!is_refused(server.local_addr(), good, part).await, "{limit} {good} {part}");
            for bad in [bad, 2 * bad, 6 * bad] {
                assert!(is_refused(server.local_addr(), bad, part).await, "{limit} {bad} {part}");
            }
        }
    }
    let (_folder, server) = plaintext(|config| config.limits.header_bytes = 1024).await;
    let answer = exchange(server.local_addr(), &with_long_field(1_100, "localhost")).await;
    assert!(answer.starts_with("HTTP/1.1 431") && answer.contains("\"request_id\":\""), "{answer}");
}

#[tokio::test]
async fn many_fields_over_http_1_are_refused() {
    let (_folder, server) = plaintext(|_| {}).await;
    let fields: String = (0..150).map(|n| format!("x-{n}: 1\r\n")).collect();
    let head = format!("GET /jwks.json HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}\r\n");
    assert!(exchange(server.local_addr(), &head).await.starts_with("HTTP/1.1 431"));
}

/// One answer over a connection that stays open.
async fn answered(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn idle_http_1_connection_is_closed_after_its_own_time() {
    let (_folder, server) = plaintext(|config| {
        config.limits.http1_idle_timeout = Duration::from_millis(100);
        config.limits.request_timeout = Duration::from_secs(600);
    })
    .await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    for _ in 0..2 {
        assert!(answered(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    assert_eq!(read_to_end(&mut stream).await, "", "closed by the server");
}

#[tokio::test]
async fn idle_http_1_connection_outlives_the_time_of_a_head() {
    let (_folder, server) = plaintext(|config| config.limits.request_timeout = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    assert!(answered(&mut stream).await.starts_with("HTTP/1.1 200"));
    let mut byte = [0];
    assert!(tokio::time::timeout(Duration::from_millis(200), stream.read(&mut byte)).await.is_err(), "still open");
    assert!(answered(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn idle_time_of_load_balancers_is_outlived_by_default() {
    assert!(token_server::config::Limits::default().http1_idle_timeout > Duration::from_secs(60));
}

#[tokio::test]
async fn head_that_trickles_in_is_waited_for_only_so_long() {
    let (_folder, server) = plaintext(|config| config.limits.request_timeout = Duration::from_millis(50)).await;
    for begun in ["GET /healthz HT", "PRI * HTTP/2.0\r\n", "P"] {
        for after_another in [false, true] {
            let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
            if after_another {
                answered(&mut stream).await;
            }
            stream.write_all(begun.as_bytes()).await.unwrap();
            let answer = read_to_end(&mut stream).await;
            assert!(!answer.contains(" 200 "), "{begun:?} {after_another}: {answer}");
        }
    }
}

#[tokio::test]
async fn operations_port_has_limits_of_its_own() {
    let (_folder, server) = plaintext(|config| {
        config.listen.operations_address = Some("127.0.0.1:0".parse().unwrap());
        config.limits.handshake_timeout = Duration::from_secs(60);
        config.limits.connections = 3;
    })
    .await;
    let (address, operations) = (server.local_addr(), server.operations_addr().unwrap());
    assert!(is_refused(operations, 17_000, usize::MAX).await);
    let no_host = exchange(operations, "GET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n").await;
    assert!(no_host.starts_with("HTTP/1.1 400"), "{no_host}");
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(operations).await.unwrap());
    }
    // One peer's connections beyond its share are closed. The main port has its own limit.
    let mut last = silent.pop().unwrap();
    assert_eq!(read_to_end(&mut last).await, "");
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 404"), "probes are on their own port");
    assert!(get(address, "/jwks.json").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn silent_connection_to_the_operations_port_is_cut_off() {
    let (_folder, server) = plaintext(|config| {
        config.listen.operations_address = Some("127.0.0.1:0".parse().unwrap());
        config.limits.handshake_timeout = Duration::from_millis(20);
        config.limits.http1_idle_timeout = Duration::from_millis(50);
    })
    .await;
    let mut silent = TcpStream::connect(server.operations_addr().unwrap()).await.unwrap();
    assert_eq!(read_to_end(&mut silent).await, "");
    let mut idle = TcpStream::connect(server.operations_addr().unwrap()).await.unwrap();
    assert!(answered(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut idle).await, "");
}

#[tokio::test]
async fn streams_of_one_connection_are_bounded() {
    let (_folder, dev) = development(|config| config.limits.streams_per_connection = 1).await;
    let channel = channel(&dev).await;
    let mut trust = TrustServiceClient::new(channel.clone());
    let mut watching = trust.watch_trust(WatchTrustRequest::default()).await.unwrap().into_inner();
    assert!(watching.message().await.unwrap().unwrap().snapshot);
    let mut client = TokenServiceClient::new(channel);
    let mut issue = std::pin::pin!(client.issue_token(IssueTokenRequest::default()));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut issue).await.is_err(), "it waits for the stream");
    drop(watching);
    assert_eq!(issue.await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn old_connections_are_asked_to_go() {
    let (_folder, server) = plaintext(|config| config.limits.connection_age = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // The server must close: the client does not.
    assert!(read_to_end(&mut stream).await.starts_with("HTTP/1.1 200"));
}

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
