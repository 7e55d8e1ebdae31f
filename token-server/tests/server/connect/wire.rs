//! The rules of the protocol's unary form, and those that HTTP has for it, over a socket.

use std::net::SocketAddr;

use http::{Request, Version, header::CONTENT_TYPE};
use serde_json::{Value, json};
use token_server::server::Running;
use tonic::Code;

use super::calls::{Over, body, call, methods, pool, send};
use crate::harness::{exchange, plaintext};

const ISSUE: &str = "/m2m.token.v1.TokenService/IssueToken";
const KEYS: &str = "/m2m.token.v1.TrustService/ListKeys";
const WATCH: &str = "/m2m.token.v1.TrustService/WatchTrust";
const CLIENTS: &str = "/m2m.admin.v1.ClientService/ListClients";
const JSON: &str = "content-type: application/json\r\n";

/// An answer over HTTP/1.1.
struct Told {
    status: u16,
    head: String,
    body: String,
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.head, self.body))
    }

    fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    fn has(&self, field: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(field))
    }
}

async fn ask(address: SocketAddr, verb: &str, target: &str, fields: &str, body: &str) -> Told {
    let head = format!("{verb} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{fields}");
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let answer = exchange(address, &format!("{head}{length}\r\n{body}")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Told { status, head: head.to_owned(), body: body.to_owned() }
}

async fn post(server: &Running, path: &str, fields: &str, body: &str) -> Told {
    ask(server.local_addr(), "POST", path, fields, body).await
}

#[tokio::test]
async fn a_message_in_json_is_answered_in_json() {
    let (_folder, server) = plaintext(|_| {}).await;
    for fields in [JSON, "content-type: application/json; charset=utf-8\r\nconnect-protocol-version: 1\r\n"] {
        let told = post(&server, KEYS, fields, "{}").await;
        assert!(told.status == 200 && told.json()["keys"][0].is_object(), "{} {}", told.head, told.body);
        assert!(told.has("content-type: application/json") && told.has("cache-control: no-store"), "{}", told.head);
    }
}

#[tokio::test]
async fn get_calls_what_has_no_side_effects() {
    let (_folder, server) = plaintext(|config| config.admin.enabled = true).await;
    let get = async |target: String| ask(server.local_addr(), "GET", &target, "", "").await;
    for query in ["encoding=json&message=%7B%7D", "connect=v1&encoding=json&base64=1&message=e30"] {
        let told = get(format!("{KEYS}?{query}")).await;
        assert!(told.status == 200 && told.json()["keys"][0].is_object(), "{query}: {}", told.body);
    }
    // Without a token, as over gRPC.
    let told = get(format!("{CLIENTS}?connect=v1&encoding=json&message=%7B%7D")).await;
    assert_eq!((told.status, &*told.code()), (401, "unauthenticated"));
    assert!(told.has("www-authenticate: Bearer"), "{}", told.head);
    for (query, status) in [
        ("", 400),
        ("encoding=json", 400),
        ("encoding=json&message=%7B", 400),
        ("encoding=json&message=***&base64=1", 400),
        ("connect=v2&encoding=json&message=%7B%7D", 400),
        ("encoding=xml&message=%7B%7D", 415),
        ("encoding=json&message=%7B%7D&compression=gzip", 501),
    ] {
        assert_eq!(get(format!("{KEYS}?{query}")).await.status, status, "{query}");
    }
    let told = get(format!("{ISSUE}?connect=v1&encoding=json&message=%7B%7D")).await;
    assert!(told.status == 405 && told.has("allow: POST, OPTIONS"), "{}", told.head);
}

#[tokio::test]
async fn each_wrong_request_has_the_status_of_its_fault() {
    let (_folder, server) = plaintext(|config| config.admin.enabled = false).await;
    let address = server.local_addr();
    let with = |field: &str| format!("{JSON}{field}\r\n");
    for (verb, path, fields, body, status, code) in [
        ("PUT", ISSUE, JSON.to_owned(), "{}", 405, "invalid_argument"),
        ("DELETE", KEYS, String::new(), "", 405, "invalid_argument"),
        ("POST", ISSUE, "content-type: text/plain\r\n".to_owned(), "{}", 415, "invalid_argument"),
        ("POST", ISSUE, "content-type: application/xml\r\n".to_owned(), "{}", 415, "invalid_argument"),
        ("POST", ISSUE, "content-type: application/connect+json\r\n".to_owned(), "{}", 415, "invalid_argument"),
        ("POST", ISSUE, String::new(), "{}", 415, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), "", 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), "{", 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), "[]", 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), r#"{"scopes":[],"scopes":["x"]}"#, 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), r#"{"redirectUri":"","redirect_uri":"x"}"#, 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), r#"{"unknown":1}"#, 400, "invalid_argument"),
        ("POST", ISSUE, JSON.to_owned(), r#"{"scopes":1}"#, 400, "invalid_argument"),
        ("POST", ISSUE, "content-type: application/proto\r\n".to_owned(), "\u{7f}", 400, "invalid_argument"),
        ("POST", ISSUE, with("connect-protocol-version: 2"), "{}", 400, "invalid_argument"),
        ("POST", ISSUE, with("connect-timeout-ms: soon"), "{}", 400, "invalid_argument"),
        ("POST", ISSUE, with("connect-timeout-ms: 10000000000"), "{}", 400, "invalid_argument"),
        ("POST", ISSUE, with("content-encoding: gzip"), "{}", 501, "unimplemented"),
        ("POST", "/m2m.token.v1.TokenService/NoSuch", JSON.to_owned(), "{}", 404, "unimplemented"),
        ("POST", "/m2m.token.v1.TokenService/issuetoken", JSON.to_owned(), "{}", 404, "unimplemented"),
        ("POST", "/m2m.token.v1.TokenService/", JSON.to_owned(), "{}", 404, "unimplemented"),
        ("POST", WATCH, JSON.to_owned(), "{}", 501, "unimplemented"),
        ("POST", CLIENTS, JSON.to_owned(), "{}", 501, "unimplemented"),
        ("POST", "/grpc.health.v1.Health/Watch", JSON.to_owned(), "{}", 501, "unimplemented"),
    ] {
        let told = ask(address, verb, path, &fields, body).await;
        assert_eq!((told.status, &*told.code()), (status, code), "{verb} {path} {fields}{body}: {}", told.body);
    }
    let told = post(&server, ISSUE, "content-type: text/plain\r\n", "{}").await;
    assert!(told.has("accept-post: application/json, application/proto"), "{}", told.head);
    let told = post(&server, ISSUE, &with("content-encoding: gzip"), "{}").await;
    assert!(told.has("accept-encoding: identity"), "{}", told.head);
    // Of no service of the contract, so not of this protocol.
    assert_eq!(post(&server, "/no.Such/Method", JSON, "{}").await.json()["error"], "not_found");
}

/// The admin services deny what their policy does not name, in each protocol.
#[tokio::test]
async fn an_unknown_method_of_the_admin_api_is_denied() {
    let (_folder, server) = plaintext(|config| config.admin.enabled = true).await;
    let told = post(&server, "/m2m.admin.v1.ClientService/NoSuch", JSON, "{}").await;
    assert_eq!((told.status, &*told.code()), (403, "permission_denied"));
    assert_eq!(told.json()["details"][0]["debug"]["reason"], "METHOD_NOT_DECLARED");
}

#[tokio::test]
async fn an_error_has_its_details_as_messages_and_in_words() {
    let (_folder, server) = plaintext(|_| {}).await;
    let told = post(&server, ISSUE, &format!("{JSON}x-request-id: trace-1\r\n"), "{}").await;
    assert_eq!((told.status, &*told.code()), (401, "unauthenticated"));
    assert!(told.has("x-request-id: trace-1"), "{}", told.head);
    let details = told.json()["details"].clone();
    let info = json!({"reason": "CLIENT_AUTHENTICATION_FAILED", "domain": "m2m.token.v1"});
    assert_eq!((&details[0]["type"], &details[0]["debug"]), (&json!("google.rpc.ErrorInfo"), &info));
    let ids = details.as_array().unwrap().iter().filter(|detail| detail["type"] == "google.rpc.RequestInfo");
    assert_eq!(ids.map(|detail| &detail["debug"]["requestId"]).collect::<Vec<_>>(), [&json!("trace-1")]);
}

/// The last frame of a stream: the flag 2, a length, and the error.
#[tokio::test]
async fn a_streaming_request_ends_with_an_error() {
    let (_folder, server) = plaintext(|_| {}).await;
    let request = Request::post(WATCH).header(CONTENT_TYPE, "application/connect+json");
    let (head, bytes, _) = send(&server, request.body(body(b"\0\0\0\0\x02{}".to_vec())).unwrap()).await;
    assert_eq!(
        (head.status.as_u16(), &head.headers[CONTENT_TYPE]),
        (200, &"application/connect+json".parse().unwrap())
    );
    let (frame, end) = bytes.split_at(5);
    assert_eq!((frame[0], u32::from_be_bytes(frame[1..].try_into().unwrap()) as usize), (2, end.len()));
    let end: Value = serde_json::from_slice(end).unwrap();
    assert_eq!(end["error"]["code"], "unimplemented");
}

/// The message never comes.
#[tokio::test]
async fn a_callers_timeout_ends_the_call() {
    let (_folder, server) = plaintext(|_| {}).await;
    let fields = format!("{JSON}connect-timeout-ms: 1\r\ncontent-length: 10\r\n");
    let told = ask(server.local_addr(), "POST", ISSUE, &fields, "").await;
    assert_eq!((told.status, &*told.code()), (504, "deadline_exceeded"));
    assert!(told.has("connection: close"), "{}", told.head);
}

#[tokio::test]
async fn a_message_may_be_as_long_as_in_grpc() {
    let (_folder, server) = plaintext(|_| {}).await;
    let spaces = |length: usize| format!("{{}}{}", " ".repeat(length - 2));
    let limit = 64 * 1024;
    assert_eq!(post(&server, KEYS, JSON, &spaces(limit)).await.status, 200);
    let chunked = format!("{JSON}transfer-encoding: chunked\r\n");
    let chunks = |length: usize| format!("{length:x}\r\n{}\r\n0\r\n\r\n", spaces(length));
    let in_chunks = async |length: usize| {
        let head = format!("POST {KEYS} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{chunked}\r\n");
        exchange(server.local_addr(), &format!("{head}{}", chunks(length))).await
    };
    assert!(in_chunks(limit).await.starts_with("HTTP/1.1 200"));
    let request = |length: usize| {
        let request = Request::post(KEYS).version(Version::HTTP_2).header(CONTENT_TYPE, "application/json");
        request.body(body(spaces(length).into_bytes())).unwrap()
    };
    assert_eq!(send(&server, request(limit)).await.0.status, 200);
    for length in [limit + 1, 10 * limit] {
        let (head, told, _) = send(&server, request(length)).await;
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!((head.status.as_u16(), &told["code"]), (400, &json!("invalid_argument")));
        assert_eq!(told["details"][0]["debug"]["reason"], "INVALID_REQUEST");
    }
}

/// Without CORS, as over gRPC-Web: only a page of the same origin can read an answer.
#[tokio::test]
async fn other_origins_get_no_permission() {
    let (_folder, server) = plaintext(|_| {}).await;
    let origin = "origin: https://other.example\r\naccess-control-request-method: POST\r\n";
    let told = ask(server.local_addr(), "OPTIONS", KEYS, origin, "").await;
    assert!(told.status == 204 && told.has("allow: GET, POST, OPTIONS"), "{}", told.head);
    let answered = post(&server, KEYS, &format!("{JSON}{origin}"), "{}").await;
    for told in [told, answered] {
        assert!(!told.head.to_ascii_lowercase().contains("access-control"), "{}", told.head);
    }
}

#[tokio::test]
async fn methods_are_served_below_the_issuers_path_too() {
    let (_folder, server) = plaintext(|config| {
        config.issuer = token_server::config::IssuerUrl::parse("http://127.0.0.1:0/sso").unwrap();
    })
    .await;
    for path in [KEYS.to_owned(), format!("/sso{KEYS}")] {
        assert_eq!(post(&server, &path, JSON, "{}").await.status, 200, "{path}");
    }
    let told = post(&server, &format!("/sso/sso{KEYS}"), JSON, "{}").await;
    assert_eq!((told.status, &told.json()["error"]), (404, &json!("not_found")));
}

/// The refusals of layers that act before the request is translated. For the limit, a head counts more bytes
/// than it has.
#[tokio::test]
async fn refusals_before_the_services_have_the_same_form() {
    let (_folder, server) = plaintext(|config| config.limits.bytes_at_once_per_peer = 170).await;
    let told = post(&server, KEYS, JSON, "{}").await;
    assert_eq!((told.status, &*told.code()), (429, "resource_exhausted"));
    assert!(told.body.contains(r#""reason":"RATE_LIMITED""#), "{}", told.body);
    let two_hosts = format!("{JSON}host: other\r\n");
    let told = post(&server, KEYS, &two_hosts, "{}").await;
    assert_eq!((told.status, &*told.code()), (400, "invalid_argument"));
    assert!(told.has("connection: close"), "{}", told.head);
}

/// A limit below the layer is that of gRPC, and says the same.
#[tokio::test]
async fn the_peers_budget_is_one_for_all_protocols() {
    let (_folder, server) = plaintext(|config| config.limits.requests_per_second_per_peer = 1).await;
    let pool = pool();
    let (_, issue) = methods(&pool).into_iter().find(|(path, _)| path == ISSUE).unwrap();
    let first = call(&server, Over::Json, &issue, &json!({}), None).await;
    assert_eq!(first.code, format!("{:?}", Code::Unauthenticated));
    for over in [Over::Grpc, Over::Json] {
        assert_eq!(call(&server, over, &issue, &json!({}), None).await.code, "ResourceExhausted", "{over:?}");
    }
}
