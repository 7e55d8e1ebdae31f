//! Draining: requests in flight succeed, streams end, nothing new is accepted, and the drain ends in time.

use std::time::{Duration, Instant};

use token_proto::token::v1::{WatchTrustRequest, trust_service_client::TrustServiceClient};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::harness::{channel, development, plaintext, read_to_end};

/// Far longer than anything here should take.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn streams_without_an_end_are_ended() {
    let (_folder, dev) = development(|config| config.limits.drain_deadline = LONG).await;
    let channel = channel(&dev).await;
    let request = HealthCheckRequest { service: String::new() };
    let mut health = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    assert_eq!(health.message().await.unwrap().unwrap().status, 1);
    let mut trust = TrustServiceClient::new(channel);
    let mut trust = trust.watch_trust(WatchTrustRequest::default()).await.unwrap().into_inner();
    assert!(trust.message().await.unwrap().unwrap().snapshot);

    let started = Instant::now();
    let watched = async {
        assert_eq!(health.message().await.unwrap().unwrap().status, 2, "not serving");
        let ended = health.message().await.unwrap_err();
        assert_eq!(ended.code(), Code::Unavailable);
        while let Ok(Some(_)) = trust.message().await {}
    };
    tokio::join!(dev.server.shutdown(), watched);
    assert!(started.elapsed() < LONG / 2);
}

#[tokio::test]
async fn requests_under_way_are_answered_and_new_ones_are_not_taken() {
    let (_folder, server) = plaintext(|config| config.limits.drain_deadline = LONG).await;
    let address = server.local_addr();
    let body = "grant_type=client_credentials";
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in flight.
    let mut asked = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.unwrap();
    assert!(asked.starts_with(b"HTTP/1.1 100"), "{asked:?}");

    let stopping = tokio::spawn(server.shutdown());
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    stream.write_all(body.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn request_that_never_ends_is_cut_off_at_the_deadline() {
    let (_folder, server) = plaintext(|config| config.limits.drain_deadline = Duration::from_millis(50)).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\n\
                content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut asked = [0; 25];
    tokio::io::AsyncReadExt::read_exact(&mut stream, &mut asked).await.unwrap();
    let started = Instant::now();
    server.shutdown().await;
    assert!(started.elapsed() < LONG);
    assert_eq!(read_to_end(&mut stream).await, "");
}
