//! Hostile HTTP peers: each attack ends its own stream or connection, with a named reason. Other peers are
//! not affected.

use token_server::server::Running;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};

use crate::harness::{exchange, get, metrics, observed, plaintext, read_to_end};

/// RFC 9113 section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113 section 7.
const ENHANCE_YOUR_CALM: u32 = 11;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header field, literal and without indexing: RFC 7541 section 6.2.2. Shorter than 127 bytes each.
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

fn head(method: &str, path: &str, content_type: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "localhost"),
        field("content-type", content_type),
        field("te", "trailers"),
    ]
    .concat()
}

fn issue() -> Vec<u8> {
    head("POST", "/m2m.token.v1.TokenService/IssueToken", "application/grpc")
}

/// An HTTP/2 connection of raw frames, with so large a window for each answer.
async fn connect(server: &Running, window: u32) -> TcpStream {
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let settings = [&4u16.to_be_bytes()[..], &window.to_be_bytes()].concat();
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &settings)).await.unwrap();
    stream
}

/// The next frame of that kind: flags, stream and payload. None at the end of the connection.
async fn next(stream: &mut (impl AsyncRead + Unpin), kind: u8) -> Option<(u8, u32, Vec<u8>)> {
    loop {
        let mut start = [0; 9];
        stream.read_exact(&mut start).await.ok()?;
        let [a, b, c, found, flags, number @ ..] = start;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.ok()?;
        if found == kind {
            return Some((flags, u32::from_be_bytes(number), payload));
        }
    }
}

/// Sends frames until the server ends the connection, and answers with its reason: RFC 9113 section 7.
async fn ended_by(server: &Running, first: Vec<u8>, more: impl Fn(u32) -> Vec<u8>) -> u32 {
    let (mut reading, mut writing) = connect(server, 65_535).await.into_split();
    // Reads meanwhile, so that the server's last frames are not lost when it closes.
    let told = tokio::spawn(async move { next(&mut reading, GOAWAY).await });
    let _ = writing.write_all(&first).await;
    for round in 0..10_000 {
        let frames: Vec<u8> = (0..100).flat_map(|number| more(100 * round + number)).collect();
        if writing.write_all(&frames).await.is_err() {
            break;
        }
    }
    drop(writing);
    let (_, _, payload) = told.await.unwrap().expect("the server ends the connection and says why");
    u32::from_be_bytes(payload[4..8].try_into().unwrap())
}

/// Sends HTTP/1.1 from a loopback address that no other test uses.
async fn get_as_another_peer(server: &Running, path: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut stream = socket.connect(server.local_addr()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

/// CVE-2023-44487.
#[tokio::test]
async fn streams_that_are_opened_and_reset_without_end_end_the_connection() {
    let (_folder, server) = plaintext(|_| {}).await;
    let cancel = 8u32.to_be_bytes();
    let opened_and_reset = |number| {
        let stream = 2 * number + 1;
        [frame(HEADERS, END_HEADERS, stream, &issue()), frame(RST_STREAM, 0, stream, &cancel)].concat()
    };
    assert_eq!(ended_by(&server, Vec::new(), opened_and_reset).await, ENHANCE_YOUR_CALM);
    assert!(get(server.local_addr(), "/jwks.json").await.starts_with("HTTP/1.1 200"));
}

/// CVE-2024-27316.
#[tokio::test]
async fn headers_that_go_on_without_end_end_the_connection() {
    let (_folder, server) = plaintext(|_| {}).await;
    for more in [Vec::new(), field("x-more", "of the same").repeat(500)] {
        let begun = frame(HEADERS, 0, 1, &issue());
        assert_eq!(ended_by(&server, begun, |_| frame(CONTINUATION, 0, 1, &more)).await, ENHANCE_YOUR_CALM);
    }
}

#[tokio::test]
async fn data_without_data_ends_the_connection() {
    let (_folder, server) = plaintext(|_| {}).await;
    let begun = frame(HEADERS, END_HEADERS, 1, &issue());
    assert_eq!(ended_by(&server, begun, |_| frame(DATA, 0, 1, &[])).await, ENHANCE_YOUR_CALM);
}

/// One field in the table of RFC 7541 section 2.3.2, and a byte for each reference to it.
#[tokio::test]
async fn headers_that_swell_when_they_are_decompressed_end_the_connection() {
    let (_folder, server) = plaintext(|_| {}).await;
    let (indexed, long) = (0x40, "x".repeat(120));
    let noted = [&[indexed][..], &field("x-long", &long)[1..]].concat();
    let begun = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[issue(), noted].concat());
    let meant = [issue(), vec![0xbe; 16_000]].concat();
    let swelling = |number| frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 3, &meant);
    assert_eq!(ended_by(&server, begun, swelling).await, ENHANCE_YOUR_CALM);
}

#[tokio::test]
async fn requests_that_never_end_leave_room_for_other_peers() {
    let (_folder, server) = observed(|config| {
        config.limits.requests_at_once = 4;
        config.limits.requests_at_once_per_peer = 2;
    })
    .await;
    let mut stream = connect(&server, 65_535).await;
    for number in 0..6 {
        stream.write_all(&frame(HEADERS, END_HEADERS, 2 * number + 1, &issue())).await.unwrap();
    }
    // One of the rejected requests, which is answered immediately, while the others wait.
    let (flags, number, _) = next(&mut stream, HEADERS).await.unwrap();
    assert!(flags & END_STREAM != 0 && number >= 5, "{flags} {number}");
    assert!(get(server.local_addr(), "/jwks.json").await.starts_with("HTTP/1.1 429"));
    assert!(get_as_another_peer(&server, "/jwks.json").await.starts_with("HTTP/1.1 200"));
    assert!(metrics(&server).await.contains("requests_shed_total{why=\"peer\"}"));
}

/// A window of zero: the answer is ready, and the client does not take it.
#[tokio::test]
async fn unread_answers_are_kept_up_to_the_share_of_a_peer() {
    let (_folder, server) = plaintext(|config| config.limits.requests_at_once_per_peer = 2).await;
    let mut stream = connect(&server, 0).await;
    for number in 0..4 {
        let asked = head("GET", "/jwks.json", "text/plain");
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &asked)).await.unwrap();
    }
    let mut kept = Vec::new();
    for _ in 0..4 {
        let (flags, number, _) = next(&mut stream, HEADERS).await.unwrap();
        if flags & END_STREAM == 0 {
            kept.push(number);
        }
    }
    assert_eq!(kept, [1, 3], "the others are refused, without a body");
    // After the resets, the permits are free.
    for number in kept {
        stream.write_all(&frame(RST_STREAM, 0, number, &8u32.to_be_bytes())).await.unwrap();
    }
    while get(server.local_addr(), "/jwks.json").await.starts_with("HTTP/1.1 429") {}
}

/// Request smuggling: bytes that one reader takes for the body, and another for the next request.
#[tokio::test]
async fn a_request_whose_length_can_be_read_in_two_ways_is_refused_and_its_connection_ends() {
    let (_folder, server) = plaintext(|_| {}).await;
    for length in [
        "content-length: 12\r\ntransfer-encoding: chunked",
        "content-length: 12\r\ncontent-length: 13",
        "content-length: +12",
        "content-length : 12",
        "content-length: 12\r\n folded: x",
        "transfer-encoding: xchunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
    ] {
        let answer = exchange(
            server.local_addr(),
            &format!(
                "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/x-www-form-urlencoded\r\n{length}\r\n\r\n\
                 grant_type=xGET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
            ),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{length}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{length}: {answer}");
    }
}

#[tokio::test]
async fn a_chunked_body_without_end_is_cut_off() {
    let (_folder, server) = plaintext(|_| {}).await;
    let mut stream = TcpStream::connect(server.local_addr()).await.unwrap();
    let head = "POST /oauth/token HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/x-www-form-urlencoded\r\ntransfer-encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let answer = tokio::spawn(async move {
        let mut answer = [0; 12];
        reading.read_exact(&mut answer).await.map(|_| answer)
    });
    let chunk = ["1000\r\n", &"x".repeat(0x1000), "\r\n"].concat();
    while writing.write_all(chunk.as_bytes()).await.is_ok() {}
    assert_eq!(&answer.await.unwrap().unwrap(), b"HTTP/1.1 413");
}
