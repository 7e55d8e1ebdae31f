//! The request stream of a client ends with its token, too.

use std::{
    convert::Infallible,
    sync::Arc,
    task::{Context, Poll},
};

use http_body_util::combinators::UnsyncBoxBody;
use token_interceptor::{clock::Clock as _, error::Denied, test_util::FakeClock};
use tokio::sync::mpsc;

use super::{streams::upload, *};

/// A handler that reads the request in a task of its own, and answers with a stream that never ends.
#[derive(Clone)]
struct Reader(mpsc::UnboundedSender<Result<Bytes, Status>>);

impl tonic::server::NamedService for Reader {
    const NAME: &'static str = "Files";
}

impl tower::Service<http::Request<Body>> for Reader {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (mut body, read) = (request.into_body(), self.0.clone());
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let ended = frame.is_err();
                let _ = read.send(frame.map(|frame| frame.into_data().unwrap_or_default()));
                if ended {
                    // It would go on if there was more.
                    assert!(body.frame().await.unwrap().is_err());
                    return;
                }
            }
        });
        let frames = tokio_stream::pending::<Result<Frame<Bytes>, Status>>();
        let mut response = http::Response::new(Body::new(StreamBody::new(frames)));
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
        std::future::ready(Ok(response))
    }
}

struct Upload {
    issuer: TestIssuer,
    revocations: Revocations,
    layer: AuthorizationLayer,
}

fn uploads(kind: MethodKind, requirement: Requirement) -> Upload {
    let (issuer, revocations) = (TestIssuer::new("https://issuer.example"), Revocations::new());
    let trusted = issuer.trusted().revocations(revocations.clone());
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let layer = AuthorizationLayer::new(verifier, upload(kind, requirement, kind).unwrap());
    Upload { issuer, revocations, layer }
}

impl Upload {
    fn request<B>(&self, uri: &str, body: B) -> http::Request<B> {
        let token = self.issuer.token().claim("jti", "one").expires_in(Duration::from_secs(60)).sign();
        let builder = http::Request::post(uri).header("authorization", format!("Bearer {token}"));
        builder.header("content-type", "application/grpc").header("te", "trailers").body(body).unwrap()
    }

    fn revoke(&self) {
        self.revocations.revoke_token("one", self.issuer.clock().now() + Duration::from_secs(600));
        self.issuer.clock().advance(Duration::from_secs(1));
    }
}

type Sender = mpsc::UnboundedSender<Result<Frame<Bytes>, Status>>;

fn sent() -> (Sender, UnsyncBoxBody<Bytes, Status>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let frames = tokio_stream::wrappers::UnboundedReceiverStream::new(receiver);
    (sender, StreamBody::new(frames).boxed_unsync())
}

fn message() -> Result<Frame<Bytes>, Status> {
    Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")))
}

/// The finding: a client over a socket ignored the answer, and all of its 80 messages were stored.
#[tokio::test]
async fn messages_after_a_revocation_are_not_read_over_a_socket() {
    for kind in [MethodKind::ClientStreaming, MethodKind::BidirectionalStreaming] {
        let upload = uploads(kind, Requirement::any_token());
        let (read, mut reads) = mpsc::unbounded_channel();
        let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = incoming.local_addr().unwrap();
        let server = Server::builder().layer(upload.layer.clone()).add_service(Reader(read));
        tokio::spawn(server.serve_with_incoming(incoming));

        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let (send, body) = sent();
        let answer = client.send_request(upload.request(&format!("http://{address}/Files/Upload"), body));
        // Kept alive, but never read.
        let _answer = tokio::spawn(answer);
        for _ in 0..20 {
            send.send(message()).unwrap();
            reads.recv().await.unwrap().unwrap();
        }
        upload.revoke();
        let sending = tokio::spawn(async move {
            // The connection may or may not still accept them.
            while send.send(message()).is_ok() {
                tokio::task::yield_now().await;
            }
        });
        let ended = async {
            loop {
                match reads.recv().await {
                    Some(Ok(_)) => {}
                    Some(Err(status)) => return status,
                    None => panic!("the reader ended without a verdict"),
                }
            }
        };
        let status = tokio::time::timeout(Duration::from_secs(5), ended).await.expect("the reader goes on");
        assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()), "{kind:?}");
        sending.abort();
    }
}

/// Returns what the handler reads of a request in progress, once `end` has happened.
async fn read_after(
    kind: MethodKind,
    requirement: Requirement,
    idle: bool,
    end: impl FnOnce(&Upload, &FakeClock),
) -> Option<Status> {
    let upload = uploads(kind, requirement);
    let (read, mut reads) = mpsc::unbounded_channel();
    let service = upload.layer.layer(Reader(read));
    let (send, body) = sent();
    let answer = service.oneshot(upload.request("/Files/Upload", Body::new(body))).await.unwrap();
    send.send(message()).unwrap();
    reads.recv().await.unwrap().unwrap();
    end(&upload, &upload.issuer.clock());
    if !idle {
        send.send(message()).unwrap();
    }
    let read = tokio::time::timeout(Duration::from_secs(2), reads.recv()).await.ok().flatten();
    drop(answer);
    read.and_then(Result::err)
}

#[tokio::test(start_paused = true)]
async fn requests_end_with_their_token_idle_or_not() {
    for kind in [MethodKind::ClientStreaming, MethodKind::BidirectionalStreaming] {
        for idle in [true, false] {
            let any = Requirement::any_token;
            let expired = |_: &Upload, clock: &FakeClock| clock.advance(Duration::from_secs(65));
            let status = read_after(kind, any(), idle, expired).await.unwrap();
            assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
            let status = read_after(kind, any(), idle, |upload, _| upload.revoke()).await.unwrap();
            assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()));
            let young = any().with_max_token_age(Duration::from_secs(10));
            let old = |_: &Upload, clock: &FakeClock| clock.advance(Duration::from_secs(16));
            let status = read_after(kind, young, idle, old).await.unwrap();
            assert_eq!(reason(&status), (Code::PermissionDenied, "TOKEN_TOO_OLD".into()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_go_on_where_the_annotation_allows_it() {
    let allowed = Requirement::any_token().with_stream_expiry(StreamExpiry::Allow);
    let kind = MethodKind::BidirectionalStreaming;
    for idle in [true, false] {
        assert!(read_after(kind, allowed.clone(), idle, |upload, _| upload.revoke()).await.is_none());
    }
}

/// For the cases that the layer cannot see: an upgraded connection, work after the answer.
#[tokio::test(start_paused = true)]
async fn a_caller_tells_when_its_call_has_to_end() {
    for kind in [MethodKind::Unary, MethodKind::ServerStreaming] {
        let upload = uploads(kind, Requirement::any_token());
        let (handed, mut callers) = mpsc::unbounded_channel();
        let inner = tower::service_fn(move |request: http::Request<Body>| {
            let _ = handed.send(request.extensions().get::<Caller>().unwrap().clone());
            std::future::ready(Ok::<_, Infallible>(http::Response::new(Body::empty())))
        });
        let service = upload.layer.layer(inner);
        service.oneshot(upload.request("/Files/Upload", Body::empty())).await.unwrap();
        let caller = callers.recv().await.unwrap();
        let ended = tokio::spawn(caller.ended());
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(!ended.is_finished());
        upload.revoke();
        let denied: Denied = tokio::time::timeout(Duration::from_secs(2), ended).await.unwrap().unwrap();
        assert_eq!(denied.reason(), ErrorReason::TokenRevoked);
    }
}

#[tokio::test(start_paused = true)]
async fn uploads_over_http_end_with_their_token_without_a_cache() {
    let issuer = TestIssuer::new("https://issuer.example");
    let clock: Arc<FakeClock> = issuer.clock();
    let verifier = Verifier::builder().issuer(issuer.trusted()).clock(clock).cache_bytes_max(0).build().unwrap();
    let layer = AuthorizationLayer::requiring(verifier, "inventory", Requirement::any_token());
    let (read, mut reads) = mpsc::unbounded_channel();
    let (send, body) = sent();
    let token = issuer.token().expires_in(Duration::from_secs(60)).sign();
    let request = http::Request::post("/upload").header("authorization", format!("Bearer {token}"));
    // Not gRPC: both directions of any HTTP exchange end as well.
    let answer = layer.layer(Reader(read)).oneshot(request.body(Body::new(body)).unwrap()).await.unwrap();
    send.send(message()).unwrap();
    reads.recv().await.unwrap().unwrap();
    issuer.clock().advance(Duration::from_secs(65));
    let read = tokio::time::timeout(Duration::from_secs(2), reads.recv()).await.unwrap().unwrap();
    assert_eq!(reason(&read.unwrap_err()).1, "TOKEN_EXPIRED");
    drop(answer);
}
