//! The rules of HTTP, over both versions and on the wire. RFC 9110, RFC 9112, RFC 9113.

use std::net::SocketAddr;

use http::{HeaderMap, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{exchange, plaintext};

async fn status_over_http_1(address: SocketAddr, request: &str) -> u16 {
    let answer = exchange(address, request).await;
    answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{request:?}: {answer:?}"))
}

/// A request over HTTP/2 as it is, without anything that a client adds.
async fn over_http_2(address: SocketAddr, request: Request<()>) -> (StatusCode, HeaderMap) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let (answer, _) = requests.ready().await.unwrap().send_request(request, true).unwrap();
    let (head, _) = answer.await.unwrap().into_parts();
    (head.status, head.headers)
}

#[tokio::test]
async fn host_is_there_once_and_well_formed() {
    let (_folder, server) = plaintext(|_| {}).await;
    let asked = async |target: &str, hosts: &str| {
        let request = format!("GET {target} HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        status_over_http_1(server.local_addr(), &request).await
    };
    let good = ["host: localhost\r\n", "HOST:   127.0.0.1:80  \r\n", "host: [::1]:80\r\n"];
    for host in good {
        assert_eq!(asked("/jwks.json", host).await, 200, "{host:?}");
    }
    assert_eq!(asked("http://other.example/jwks.json", "host: localhost\r\n").await, 200);
    for hosts in [
        "",
        "host:\r\n",
        "host: a b\r\n",
        "host: a/b\r\n",
        "host: user@a\r\n",
        "host: a:port\r\n",
        "host: a:99999\r\n",
        "host: [::1\r\n",
        "host: a, b\r\n",
        "host: a\r\nhost: a\r\n",
        "host: a\r\nHost: b\r\n",
        "host: ä\r\n",
    ] {
        for target in
            ["/jwks.json", "http://other.example/jwks.json", "/nowhere", "/m2m.token.v1.TokenService/IssueToken"]
        {
            assert_eq!(asked(target, hosts).await, 400, "{target} {hosts:?}");
        }
    }
    let old = exchange(server.local_addr(), "GET /jwks.json HTTP/1.0\r\n\r\n").await;
    assert!(old.contains(" 200 "), "{old}");
}

#[tokio::test]
async fn host_over_http_2_does_not_contradict_the_authority() {
    let (_folder, server) = plaintext(|_| {}).await;
    let address = server.local_addr();
    let uri = format!("http://{address}/jwks.json");
    for (hosts, expected) in [(vec![], 200), (vec![address.to_string()], 200), (vec!["b".to_owned()], 400)] {
        let mut request = Request::get(&uri);
        for host in &hosts {
            request = request.header("host", host);
        }
        assert_eq!(over_http_2(address, request.body(()).unwrap()).await.0, expected, "{hosts:?}");
    }
    let twice = Request::get(&uri).header("host", address.to_string()).header("host", address.to_string());
    assert_eq!(over_http_2(address, twice.body(()).unwrap()).await.0, 400);
}

fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/x-www-form-urlencoded\r\n{headers}\r\n{body}"
    )
}

#[tokio::test]
async fn unknown_transfer_codings_are_not_implemented() {
    let (_folder, server) = plaintext(|_| {}).await;
    let chunks = "3\r\na=b\r\n0\r\n\r\n";
    for (coding, status) in [
        ("transfer-encoding: chunked\r\n", 400),
        ("transfer-encoding: CHUNKED\r\n", 400),
        ("transfer-encoding: gzip, chunked\r\n", 501),
        ("transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n", 501),
        ("transfer-encoding: made-up, chunked\r\n", 501),
        ("transfer-encoding: chunked, chunked\r\n", 400),
    ] {
        assert_eq!(status_over_http_1(server.local_addr(), &post(coding, chunks)).await, status, "{coding:?}");
    }
}

#[tokio::test]
async fn content_codings_are_unsupported_over_both_versions() {
    let (_folder, server) = plaintext(|_| {}).await;
    let address = server.local_addr();
    for coding in ["gzip", "br", "zstd", "made-up"] {
        let body = post(&format!("content-encoding: {coding}\r\ncontent-length: 3\r\n"), "a=b");
        let answer = exchange(address, &body).await;
        assert!(answer.starts_with("HTTP/1.1 415") && answer.contains("accept-encoding: identity"), "{answer}");
        let request = Request::post(format!("http://{address}/oauth/token")).header("content-encoding", coding);
        let (status, headers) = over_http_2(address, request.body(()).unwrap()).await;
        assert_eq!((status.as_u16(), &headers["accept-encoding"]), (415, &"identity".parse().unwrap()));
    }
    let plain = post("content-encoding: identity\r\ncontent-length: 3\r\n", "a=b");
    assert_eq!(status_over_http_1(address, &plain).await, 400, "read, and no request for a token");
}

/// RFC 9110 section 10.1.1.
#[tokio::test]
async fn body_that_is_too_long_is_refused_before_it_is_sent() {
    let (_folder, server) = plaintext(|_| {}).await;
    for headers in [
        "expect: 100-continue\r\ncontent-length: 200000\r\n",
        "content-length: 65537\r\n",
        "Expect: 100-Continue\r\ncontent-length: 65537\r\n",
    ] {
        let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
        stream.write_all(post(headers, "").as_bytes()).await.unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 413", "{headers:?}");
    }
    let address = server.local_addr();
    let request = Request::post(format!("http://{address}/oauth/token")).header("content-length", "65537");
    let stream = TcpStream::connect(address).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    // Its body does not come.
    let (answer, _body) = requests.ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 413);
    assert_eq!(status_over_http_1(address, &post("expect: a-miracle\r\ncontent-length: 0\r\n", "")).await, 417);
}

/// RFC 9110 section 9.3.7.
#[tokio::test]
async fn options_of_the_server_itself_are_answered() {
    let (_folder, server) = plaintext(|_| {}).await;
    let answer =
        exchange(server.local_addr(), "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 204") && answer.contains("allow: GET, "), "{answer}");
    let get = "GET * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    assert_eq!(status_over_http_1(server.local_addr(), get).await, 400);
}

/// The response to a request that breaks the rules has the form of every other rejection.
#[tokio::test]
async fn refusals_say_why_and_name_their_request() {
    let (_folder, server) = plaintext(|_| {}).await;
    let answer = exchange(server.local_addr(), "GET / HTTP/1.1\r\nx-request-id: trace-1\r\n\r\n").await;
    for part in ["HTTP/1.1 400", "connection: close", r#""error":"invalid_request""#, r#""request_id":"trace-1""#] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
}
