//! A call in progress ends when its token expires or is revoked.

use std::{sync::Arc, time::SystemTime};

use token_interceptor::clock::Clock;

use super::*;

/// Runs a stream with one message over a simulated hour. Returns the time of its end and its trailers, if it
/// ends.
async fn end_of_stream(stream_expiry: StreamExpiry) -> Option<(Duration, HeaderMap)> {
    let issuer = TestIssuer::new("https://issuer.example");
    let requirement = Requirement::any_token().with_stream_expiry(stream_expiry);
    let inner = tower::service_fn(|_: http::Request<Body>| async {
        let frame = Frame::data(Bytes::from_static(b"message"));
        let frames = tokio_stream::once(Ok::<_, Status>(frame)).chain(tokio_stream::pending());
        Ok::<_, Infallible>(http::Response::new(StreamBody::new(frames)))
    });
    let service = AuthorizationLayer::requiring(issuer.verifier(), "inventory", requirement).layer(inner);
    let mut request = http::Request::new(Body::empty());
    let token = issuer.token().expires_in(Duration::from_secs(60)).sign();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));

    let mut body = std::pin::pin!(service.oneshot(request).await.unwrap().into_body());
    assert!(body.frame().await.unwrap().unwrap().is_data());
    // The verifier's clock follows Tokio's, second by second.
    for second in 1..3600 {
        if let Ok(frame) = tokio::time::timeout(Duration::from_secs(1), body.frame()).await {
            assert!(body.is_end_stream());
            return Some((Duration::from_secs(second), frame.unwrap().unwrap().into_trailers().unwrap()));
        }
        issuer.clock().advance(Duration::from_secs(1));
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_within_a_second_of_its_tokens_expiry() {
    let (after, trailers) = end_of_stream(StreamExpiry::Close).await.unwrap();
    assert!((65..=66).contains(&after.as_secs()), "{after:?}");
    let status = Status::from_header_map(&trailers).unwrap();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
    assert!(trailers["www-authenticate"].to_str().unwrap().starts_with("Bearer error=\"invalid_token\""));
}

/// A wall clock that follows Tokio's clock.
#[derive(Debug)]
struct TokioClock(SystemTime, tokio::time::Instant);

impl Clock for TokioClock {
    fn now(&self) -> SystemTime {
        self.0 + self.1.elapsed()
    }
}

/// A stream that sends a message each `pause`. `take_back` runs after ten seconds of it.
async fn end_after(pause: Duration, take_back: impl FnOnce(&TestIssuer, &Revocations)) -> (Duration, Status) {
    let start = tokio::time::Instant::now();
    let issuer = TestIssuer::new("https://issuer.example");
    let revocations = Revocations::new();
    let trusted = issuer.trusted().revocations(revocations.clone());
    let verifier = Verifier::builder().issuer(trusted).clock(Arc::new(TokioClock(issuer.clock().now(), start))).build();
    let inner = tower::service_fn(move |_: http::Request<Body>| {
        let frames = tokio_stream::StreamExt::throttle(tokio_stream::iter(0..), pause)
            .map(|_| Ok::<_, Status>(Frame::data(Bytes::from_static(b"message"))));
        async { Ok::<_, Infallible>(http::Response::new(StreamBody::new(Box::pin(frames)))) }
    });
    let service = AuthorizationLayer::requiring(verifier.unwrap(), "inventory", Requirement::any_token()).layer(inner);
    let mut request = http::Request::new(Body::empty());
    let token = issuer.token().client("orders").claim("jti", "one").sign();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = std::pin::pin!(service.oneshot(request).await.unwrap().into_body());
    let mut take_back = Some(take_back);
    loop {
        let frame = tokio::time::timeout(Duration::from_millis(100), body.frame()).await;
        if let Ok(Ok(trailers)) = frame.map(|frame| frame.unwrap().unwrap().into_trailers()) {
            return (start.elapsed() - Duration::from_secs(10), Status::from_header_map(&trailers).unwrap());
        }
        if start.elapsed() >= Duration::from_secs(10)
            && let Some(take_back) = take_back.take()
        {
            take_back(&issuer, &revocations);
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{pause:?}: it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_token_or_client_is_revoked_ends_within_a_second() {
    for pause in [Duration::from_millis(10), Duration::from_millis(900), Duration::from_secs(30)] {
        let (after, status) = end_after(pause, |issuer, revocations| {
            revocations.revoke_token("one", issuer.clock().now() + Duration::from_secs(600));
        })
        .await;
        assert!(after <= Duration::from_secs(1), "{pause:?}: {after:?}");
        assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    }
    let (after, status) = end_after(Duration::from_millis(100), |issuer, revocations| {
        let now = issuer.clock().now() + Duration::from_secs(10);
        revocations.revoke_client("orders", now, now + Duration::from_secs(600));
    })
    .await;
    assert!(after <= Duration::from_secs(1), "{after:?}");
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_within_a_second_of_a_jump_of_the_clock_past_its_tokens_expiry() {
    let issuer = TestIssuer::new("https://issuer.example");
    let inner = tower::service_fn(|_: http::Request<Body>| async {
        let frames = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        Ok::<_, Infallible>(http::Response::new(StreamBody::new(frames)))
    });
    let service = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token()).layer(inner);
    let mut request = http::Request::new(Body::empty());
    request.headers_mut().insert("authorization", format!("Bearer {}", issuer.token().sign()).parse().unwrap());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut body = std::pin::pin!(service.oneshot(request).await.unwrap().into_body());
    tokio::time::timeout(Duration::from_millis(1500), body.frame()).await.unwrap_err();
    // As after a suspend: the wall clock has moved on, and monotonic time has not.
    issuer.clock().advance(Duration::from_secs(8 * 3600));
    let jump = tokio::time::Instant::now();
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert!(jump.elapsed() <= Duration::from_secs(1), "{:?}", jump.elapsed());
    assert_eq!(reason(&Status::from_header_map(&trailers).unwrap()).1, "TOKEN_EXPIRED");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_where_the_annotation_allows_it() {
    assert_eq!(end_of_stream(StreamExpiry::Allow).await, None);
}

/// A service of one method: its policy and its descriptor.
pub(crate) fn upload(
    declared: MethodKind,
    requirement: Requirement,
    described: MethodKind,
) -> Result<ServedPolicy, PolicyError> {
    let access = Access::Require(requirement);
    let method = MethodPolicy::new("/Files/Upload".into(), "inventory".into(), access, declared);
    let described = MethodDescriptorProto {
        name: Some("Upload".to_owned()),
        client_streaming: Some(described.is_client_streaming()),
        server_streaming: Some(matches!(described, MethodKind::ServerStreaming | MethodKind::BidirectionalStreaming)),
        ..Default::default()
    };
    let service =
        ServiceDescriptorProto { name: Some("Files".to_owned()), method: vec![described], ..Default::default() };
    let file = FileDescriptorProto { service: vec![service], ..Default::default() };
    let descriptors = FileDescriptorSet { file: vec![file] }.encode_to_vec();
    Policy::new(&[method]).unwrap().serves(&descriptors, &["Files"])
}

/// Runs a call that its handler never answers, over a simulated hour. Returns the time and status of its end,
/// if it ends.
async fn end_of_call(kind: MethodKind, requirement: Requirement) -> Option<(Duration, Status)> {
    let policy = upload(kind, requirement, kind).unwrap();
    let issuer = TestIssuer::new("https://issuer.example");
    let inner = tower::service_fn(|_: http::Request<Body>| pending::<Result<http::Response<Body>, Infallible>>());
    let service = AuthorizationLayer::new(issuer.verifier(), policy).layer(inner);
    let mut request = http::Request::post("/Files/Upload").body(Body::empty()).unwrap();
    let token = issuer.token().expires_in(Duration::from_secs(60)).sign();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut call = std::pin::pin!(service.oneshot(request));
    for second in 1..3600 {
        if let Ok(response) = tokio::time::timeout(Duration::from_secs(1), &mut call).await {
            let status = Status::from_header_map(response.unwrap().headers()).unwrap();
            return Some((Duration::from_secs(second), status));
        }
        issuer.clock().advance(Duration::from_secs(1));
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_client_streams_ends_with_its_token_before_it_is_answered() {
    for kind in [MethodKind::ClientStreaming, MethodKind::BidirectionalStreaming] {
        let (after, status) = end_of_call(kind, Requirement::any_token()).await.unwrap();
        assert!((65..=66).contains(&after.as_secs()), "{after:?}");
        assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_client_streams_goes_on_where_the_annotation_allows_it() {
    let allowed = Requirement::any_token().with_stream_expiry(StreamExpiry::Allow);
    assert!(end_of_call(MethodKind::ClientStreaming, allowed).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_that_takes_its_time_is_not_cut_off() {
    for kind in [MethodKind::Unary, MethodKind::ServerStreaming] {
        assert!(end_of_call(kind, Requirement::any_token()).await.is_none(), "{kind:?}");
    }
}
