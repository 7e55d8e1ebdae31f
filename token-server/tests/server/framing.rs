//! Unreadable messages are the caller's mistake, and are reported as every other error.

use std::net::SocketAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use http_body_util::{BodyExt as _, Full};
use token_proto::{ERROR_DOMAIN, POLICY};
use tonic::{Code, Status, body::Body, transport::Channel};
use tonic_types::StatusExt as _;
use tower::{Service as _, ServiceExt as _};

use crate::harness::{exchange, plaintext};

const METHODS: [&str; 4] = [
    "/m2m.token.v1.TokenService/IssueToken",
    "/m2m.token.v1.TokenService/IntrospectToken",
    "/m2m.token.v1.TokenService/RevokeToken",
    "/m2m.token.v1.TokenService/ExchangeToken",
];

/// A message behind its five bytes of frame.
fn framed(compressed: u8, length: u32, message: &[u8]) -> Vec<u8> {
    [&[compressed][..], &length.to_be_bytes(), message].concat()
}

/// Messages that are each malformed in one way.
fn unreadable() -> [(&'static str, Vec<u8>); 7] {
    [
        ("no message at all", Vec::new()),
        ("not Protobuf", framed(0, 4, b"\xff\xff\xff\xff")),
        ("a field that ends too late", framed(0, 3, b"\x0a\x7fx")),
        ("a truncated message", framed(0, 100, b"\x0a\x01x")),
        ("a truncated frame", vec![0, 0, 0]),
        ("a wrong compression flag", framed(7, 0, b"")),
        ("a message that is too long", framed(0, 1 << 20, &vec![0; 1 << 20])),
    ]
}

async fn call(channel: &mut Channel, path: &str, body: Vec<u8>) -> Status {
    let request = http::Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("x-request-id", "trace-1")
        .body(Body::new(Full::new(bytes::Bytes::from(body)).map_err(|never| match never {})))
        .unwrap();
    let response = channel.ready().await.unwrap().call(request).await.unwrap();
    assert_eq!(response.status(), 200);
    Status::from_header_map(response.headers()).expect("an answer without a body")
}

fn check(status: &Status, what: &str) {
    assert_eq!(status.code(), Code::InvalidArgument, "{what}: {status:?}");
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{what}: {status:?}"));
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", ERROR_DOMAIN), "{what}");
}

#[tokio::test]
async fn an_unreadable_message_is_an_invalid_request_in_every_method() {
    let (_folder, server) = plaintext(|_| {}).await;
    let address: SocketAddr = server.local_addr();
    let mut channel = Channel::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    for path in METHODS {
        assert!(POLICY.iter().any(|method| method.path == path), "{path} is no method of the contract");
        for (what, body) in unreadable() {
            let status = call(&mut channel, path, body).await;
            check(&status, &format!("{path}: {what}"));
            assert_eq!(status.get_details_request_info().unwrap().request_id, "trace-1");
        }
    }
}

#[tokio::test]
async fn a_compressed_message_without_its_encoding_is_an_invalid_request() {
    let (_folder, server) = plaintext(|_| {}).await;
    let mut channel = Channel::from_shared(format!("http://{}", server.local_addr())).unwrap().connect_lazy();
    check(&call(&mut channel, METHODS[0], framed(1, 2, b"xx")).await, "compressed");
}

#[tokio::test]
async fn an_unreadable_message_over_grpc_web_is_an_invalid_request_too() {
    let (_folder, server) = plaintext(|_| {}).await;
    let body = STANDARD_NO_PAD.encode(framed(7, 1, b"x"));
    let path = METHODS[0];
    let answer = exchange(
        server.local_addr(),
        &format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/grpc-web-text+proto\r\naccept: application/grpc-web-text+proto\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("grpc-status: 3"), "{answer}");
}
