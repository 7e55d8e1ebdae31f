//! What one connection, and all of them together, may take.

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

use crate::harness::{channel, development, exchange, get, plaintext, read_to_end};

async fn over_grpc(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A request that is under way and goes nowhere: its body does not come.
async fn stuck(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 10\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: it has taken the request up.
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"));
    stream
}

#[tokio::test]
async fn one_peer_may_not_have_all_the_connections() {
    let (_folder, server) = plaintext(|config| config.limits.connections_per_peer = 1).await;
    let address = server.local_addr();
    let first = stuck(address).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_to_end(&mut second).await, "", "closed at once");
    drop(first);
    // The server has to notice first.
    let shown = loop {
        let answer = get(address, "/metrics").await;
        if answer.starts_with("HTTP/1.1 200") {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert!(shown.contains("token_server_connections_refused_total"));
}

#[tokio::test]
async fn requests_beyond_what_is_done_at_once_are_refused_at_once_and_probes_are_not() {
    let (_folder, server) = plaintext(|config| config.limits.requests_at_once = 1).await;
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
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
    let request = HealthCheckRequest { service: String::new() };
    assert_eq!(HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner().status, 1);

    drop(first);
    while issue("later").await.code() == Code::ResourceExhausted {
        tokio::task::yield_now().await;
    }
    assert!(get(address, "/metrics").await.contains("token_server_requests_shed_total{why=\"overload\"}"));
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
    // To the end of the connection, which nobody here closes.
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
