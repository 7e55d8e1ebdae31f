//! Everything on one port, and nothing that should not be there.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use token_proto::{
    POLICY,
    token::v1::{GetIssuerRequest, trust_service_client::TrustServiceClient},
};
use tonic::{Code, body::Body, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower::{Service as _, ServiceExt as _};

use crate::harness::{channel, development, exchange, get, metrics, observed, plaintext};

#[tokio::test]
async fn serves_grpc_over_tls() {
    let (_folder, dev) = development(|_| {}).await;
    let mut trust = TrustServiceClient::new(channel(&dev).await);
    let issuer = trust.get_issuer(GetIssuerRequest {}).await.unwrap().into_inner().issuer.unwrap();
    assert_eq!(issuer.issuer, dev.server.issuer().as_str());
}

#[tokio::test]
async fn serves_http_1_and_grpc_on_one_plaintext_port() {
    let (_folder, server) = plaintext(|_| {}).await;
    let address = server.local_addr();
    let answer = get(address, "/jwks.json").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""alg":"ES256""#), "{answer}");
    let mut trust = TrustServiceClient::connect(format!("http://{address}")).await.unwrap();
    trust.get_issuer(GetIssuerRequest {}).await.unwrap();
}

#[tokio::test]
async fn serves_grpc_web_over_http_1() {
    let (_folder, server) = plaintext(|_| {}).await;
    // An empty message: no compression, length 0.
    let body = STANDARD.encode([0; 5]);
    let answer = exchange(
        server.local_addr(),
        &format!(
            "POST /m2m.token.v1.TrustService/GetIssuer HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/grpc-web-text+proto\r\naccept: application/grpc-web-text+proto\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("application/grpc-web-text"), "{answer}");
}

#[tokio::test]
async fn unknown_path_is_answered_in_the_callers_own_terms() {
    let (_folder, server) = plaintext(|_| {}).await;
    let http = get(server.local_addr(), "/nowhere").await;
    assert!(http.starts_with("HTTP/1.1 404") && http.contains(r#""error":"not_found""#), "{http}");
    let grpc = exchange(
        server.local_addr(),
        "POST /no.Such/Method HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/grpc\r\n\
         content-length: 0\r\n\r\n",
    )
    .await;
    assert!(grpc.starts_with("HTTP/1.1 200") && grpc.contains("grpc-status: 12"), "{grpc}");
}

/// Sends an empty message to the path, as gRPC. Returns the status.
async fn status_of(channel: &Channel, path: &str) -> Option<Code> {
    let request = Request::post(path).header("content-type", "application/grpc").header("te", "trailers");
    let request = request.body(Body::new(Full::from(&[0_u8; 5][..]).map_err(|never| match never {}))).unwrap();
    let answer = channel.clone().ready().await.unwrap().call(request).await.unwrap();
    tonic::Status::from_header_map(answer.headers()).map(|status| status.code())
}

/// A method that does not exist is UNIMPLEMENTED, over gRPC and gRPC-Web. The server layer in front of the
/// admin services denies what their policy does not name (ADR 9). None of these calls spends the peer's
/// budget.
#[tokio::test]
async fn unknown_methods_are_unimplemented_and_spend_no_budget() {
    let (_folder, server) = plaintext(|config| {
        config.admin.enabled = true;
        config.limits.requests_per_second_per_peer = 1;
    })
    .await;
    let address = server.local_addr();
    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let unknown = [
        ("/no.Such/Method", Code::Unimplemented),
        ("/m2m.token.v1.TokenService/NoSuchMethod", Code::Unimplemented),
        ("/m2m.token.v1.TokenService/issuetoken", Code::Unimplemented),
        ("/m2m.token.v1.TrustService/NoSuchMethod", Code::Unimplemented),
        ("/grpc.health.v1.Health/NoSuchMethod", Code::Unimplemented),
        ("/m2m.admin.v1.NoSuchService/ListClients", Code::Unimplemented),
        ("/m2m.admin.v1.ClientService/NoSuchMethod", Code::PermissionDenied),
        ("/", Code::Unimplemented),
    ];
    for (path, code) in unknown {
        for _ in 0..3 {
            assert_eq!(status_of(&channel, path).await, Some(code), "{path}");
        }
        let web = exchange(
            address,
            &format!(
                "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: application/grpc-web+proto\r\ncontent-length: 5\r\n\r\n\0\0\0\0\0"
            ),
        )
        .await;
        let number = code as i32;
        let told = [format!("grpc-status: {number}"), format!("grpc-status:{number}")];
        assert!(told.iter().any(|told| web.contains(told.as_str())), "{path}: {web}");
    }
    // The peer's one request in this second.
    let known = "/m2m.token.v1.TokenService/IssueToken";
    assert_ne!(status_of(&channel, known).await, Some(Code::ResourceExhausted));
}

#[tokio::test]
async fn health_is_told_for_each_service() {
    let (_folder, dev) = development(|_| {}).await;
    let mut health = HealthClient::new(channel(&dev).await);
    let services: BTreeSet<_> = POLICY.iter().filter_map(|method| method.path.split('/').nth(1)).collect();
    assert!(services.len() >= 5, "{services:?}");
    for service in services.into_iter().chain([""]) {
        let request = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(request).await.unwrap().into_inner().status, 1, "{service}");
    }
    let unknown = HealthCheckRequest { service: "no.Such".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn reflection_is_served_only_where_it_is_switched_on() {
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};
    for on in [true, false] {
        let (_folder, dev) = development(|config| config.admin.reflection = on).await;
        let mut reflection = ServerReflectionClient::new(channel(&dev).await);
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            )),
        };
        let answer = reflection.server_reflection_info(tokio_stream::once(list)).await;
        if on {
            let message = answer.unwrap().into_inner().message().await.unwrap().unwrap();
            assert!(format!("{message:?}").contains("m2m.token.v1.TokenService"));
        } else {
            assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
        }
    }
}

#[tokio::test]
async fn metrics_are_shown_only_on_a_port_of_their_own() {
    let (_folder, server) =
        plaintext(|config| config.listen.operations_address = Some("127.0.0.1:0".parse().unwrap())).await;
    assert!(get(server.local_addr(), "/metrics").await.starts_with("HTTP/1.1 404"));
    let operations = server.operations_addr().unwrap();
    assert!(get(operations, "/metrics").await.contains("token_server_build_info"));
    assert!(get(operations, "/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(get(operations, "/healthz").await.starts_with("HTTP/1.1 200"));
}

/// S22: a TLS terminator on the same host would show them to everyone.
#[tokio::test]
async fn metrics_are_not_shown_on_loopback_unasked() {
    let (_folder, server) = plaintext(|_| {}).await;
    for path in ["/metrics", "/metrics/", "//metrics", "/METRICS"] {
        let answer = get(server.local_addr(), path).await;
        assert!(answer.starts_with("HTTP/1.1 404") && !answer.contains("token_server_"), "{path}: {answer}");
    }
    assert!(get(server.local_addr(), "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn metrics_are_not_shown_beyond_loopback() {
    let (_folder, server) = plaintext(|config| config.listen.address = "0.0.0.0:0".parse().unwrap()).await;
    let address = ([127, 0, 0, 1], server.local_addr().port()).into();
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn nothing_that_a_caller_makes_up_becomes_a_metric() {
    let (_folder, server) = observed(|_| {}).await;
    let address = server.local_addr();
    let post = |path: &str, headers: &str, body: &str| {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: made-up\r\nconnection: close\r\nuser-agent: made-up\r\n");
        format!("{head}x-request-id: made-up\r\n{headers}content-length: {length}\r\n\r\n{body}")
    };
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let grpc = "content-type: application/grpc\r\nauthorization: Bearer made-up\r\n";
    for request in [
        post("/made-up", "", ""),
        post("/oauth/made-up?made-up=1", form, ""),
        post("/oauth/token", form, "grant_type=made-up&client_id=made-up&client_secret=made-up&audience=made-up"),
        post(
            "/oauth/token",
            form,
            "grant_type=client_credentials&client_id=made-up&client_secret=made-up&scope=made-up",
        ),
        post("/oauth/introspect", form, "client_id=made-up&client_secret=made-up&token=made-up"),
        post("/m2m.token.v1.TokenService/made-up", grpc, ""),
        post("/m2m.token.v1.made-up/IssueToken", grpc, ""),
        post("/m2m.admin.v1.ClientService/made-up", grpc, ""),
        post("/m2m.admin.v1.ClientService/ListClients", grpc, "\0\0\0\0\0"),
        "MADE-UP /made-up HTTP/1.1\r\nhost: made-up\r\nconnection: close\r\n\r\n".to_owned(),
    ] {
        assert!(exchange(address, &request).await.starts_with("HTTP/1.1 "), "{request}");
    }
    let shown = metrics(&server).await;
    assert!(shown.contains(r#"{path="other""#), "they were counted: {shown}");
    let series: Vec<_> = shown.lines().filter(|line| line.to_ascii_lowercase().contains("made-up")).collect();
    assert!(series.is_empty(), "{series:?}");
}
