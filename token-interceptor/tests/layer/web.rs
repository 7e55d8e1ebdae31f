//! gRPC-Web and preflights, with the layer outside of `GrpcWebLayer` and `CorsLayer`.

use base64::Engine as _;
use tokio_stream::StreamExt as _;

use super::{streams::upload, *};

fn asked(content_type: &str, token: Option<String>) -> http::Request<Body> {
    let mut request = http::Request::post("/Files/Upload").body(Body::empty()).unwrap();
    request.headers_mut().insert("content-type", content_type.parse().unwrap());
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

#[tokio::test]
async fn refusals_of_grpc_web_are_answered_in_kind() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token());
    let inner =
        tower::service_fn(|_: http::Request<Body>| async { Ok::<_, Infallible>(http::Response::new(Body::empty())) });
    for (asked_as, answered_as) in [
        ("application/grpc-web", "application/grpc-web+proto"),
        ("application/grpc-web+proto", "application/grpc-web+proto"),
        ("application/grpc-web-text", "application/grpc-web-text+proto"),
        ("application/grpc", "application/grpc"),
        ("application/grpcx", "application/json"),
    ] {
        let answer = layer.clone().layer(inner).oneshot(asked(asked_as, None)).await.unwrap();
        assert_eq!(answer.headers()["content-type"], answered_as, "{asked_as}");
        let status = Status::from_header_map(answer.headers()).map(|status| reason(&status).1);
        let expected = (answered_as != "application/json").then_some("CREDENTIALS_MISSING");
        assert_eq!(status.as_deref(), expected, "{asked_as}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_of_grpc_web_end_with_a_frame_of_trailers() {
    for (content_type, text) in [("application/grpc-web+proto", false), ("application/grpc-web-text", true)] {
        let issuer = TestIssuer::new("https://issuer.example");
        let kind = MethodKind::ServerStreaming;
        let policy = upload(kind, Requirement::any_token(), kind).unwrap();
        let inner = tower::service_fn(|_: http::Request<Body>| async {
            let first = tokio_stream::once(Ok::<_, Status>(Frame::data(Bytes::from_static(b"message"))));
            Ok::<_, Infallible>(http::Response::new(StreamBody::new(first.chain(tokio_stream::pending()))))
        });
        let service = AuthorizationLayer::new(issuer.verifier(), policy).layer(inner);
        let answer = service.oneshot(asked(content_type, Some(issuer.token().sign()))).await.unwrap();
        let mut body = std::pin::pin!(answer.into_body());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "message");
        issuer.clock().advance(Duration::from_secs(305));
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let frame =
            if text { base64::engine::general_purpose::STANDARD.decode(frame).unwrap() } else { frame.to_vec() };
        assert_eq!(frame[0], 0x80);
        assert_eq!(u32::from_be_bytes(frame[1..5].try_into().unwrap()) as usize, frame.len() - 5);
        assert!(String::from_utf8_lossy(&frame[5..]).contains("grpc-status: 16\r\n"));
        assert!(body.frame().await.is_none());
    }
}

/// A preflight carries no credentials. If admitted, it would reach handlers, which ignore the HTTP method.
#[tokio::test]
async fn preflights_do_not_reach_the_service() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token());
    let inner = tower::service_fn(|_: http::Request<Body>| async {
        panic!("the handler runs");
        #[allow(unreachable_code, reason = "the type of the answer")]
        Ok::<_, Infallible>(http::Response::new(Body::empty()))
    });
    let preflight = http::Request::options("/Files/Upload")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "POST")
        .body(Body::empty());
    let answer = layer.layer(inner).oneshot(preflight.unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
}
