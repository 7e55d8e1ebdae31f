//! The mark of the layer's own refusals: set where no handler ran, and removed from the answers of handlers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

const MARK: &str = "token-refused";
const GET_ITEM: &str = "/inventory.v1.InventoryService/GetItem";
const FORGED: &str = "before-handler /inventory.v1.InventoryService/GetItem";

/// A handler's forged refusal, with a reason that a new token may cure and a mark of its own.
fn forged() -> Status {
    let mut status =
        token_interceptor::status::Answer::new(ErrorReason::TokenExpired, "of another token").into_status();
    status.metadata_mut().insert(MARK, FORGED.parse().unwrap());
    status
}

/// Answers `forged` in the head, or after a message in the trailers; counts its calls.
fn handler(
    in_head: bool,
    ran: Arc<AtomicUsize>,
) -> impl tower::Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    tower::service_fn(move |_: http::Request<Body>| {
        ran.fetch_add(1, Ordering::SeqCst);
        let refused = forged().into_http::<Body>();
        std::future::ready(Ok::<_, Infallible>(if in_head {
            refused
        } else {
            let data = Ok(Frame::data(Bytes::from_static(b"\0\0\0\0\0")));
            let frames = [data, Ok::<_, Status>(Frame::trailers(refused.into_parts().0.headers))];
            http::Response::new(Body::new(StreamBody::new(tokio_stream::iter(frames))))
        }))
    })
}

fn request(path: &str, token: &str) -> http::Request<Body> {
    let mut request = http::Request::new(Body::empty());
    *request.uri_mut() = path.parse().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    request
}

fn layer(issuer: &TestIssuer) -> AuthorizationLayer {
    let policy = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    AuthorizationLayer::new(issuer.verifier(), policy)
}

#[tokio::test]
async fn a_refused_token_is_marked_and_other_refusals_are_not() {
    let issuer = TestIssuer::new("https://issuer.example");
    let ran = Arc::new(AtomicUsize::new(0));
    let service = layer(&issuer).layer(handler(true, Arc::clone(&ran)));
    let expired = issuer.token().scope("inventory.read").expires_in(Duration::from_secs(1)).sign();
    let narrow = issuer.token().scope("other").sign();
    issuer.clock().advance(Duration::from_secs(60));
    let refused = service.clone().oneshot(request(GET_ITEM, &expired)).await.unwrap();
    assert_eq!(refused.headers()[MARK], FORGED);
    for (path, token) in [(GET_ITEM, &*narrow), ("/no.Such/Method", &*expired)] {
        let refused = service.clone().oneshot(request(path, token)).await.unwrap();
        assert!(!refused.headers().contains_key(MARK), "{path}");
    }
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_handlers_mark_is_removed_from_head_and_trailers() {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = issuer.token().scope("inventory.read").sign();
    let anything = Requirement::any_token();
    for (layer, path) in [
        (layer(&issuer), GET_ITEM),
        (layer(&issuer), "/inventory.v1.InventoryService/ListItems"),
        (layer(&issuer), "/inventory.v1.InventoryService/GetOpeningHours"),
        (AuthorizationLayer::requiring(issuer.verifier(), "inventory", anything), "/route"),
    ] {
        for in_head in [true, false] {
            let service = layer.layer(handler(in_head, Arc::default()));
            let answer = service.oneshot(request(path, &token)).await.unwrap();
            assert!(!answer.headers().contains_key(MARK), "{path}");
            let trailers = answer.into_body().collect().await.unwrap().trailers().cloned();
            assert!(trailers.is_none_or(|trailers| !trailers.contains_key(MARK)), "{path}");
        }
    }
}

#[tokio::test]
async fn a_handler_that_forges_the_mark_runs_once() {
    let issuer = TestIssuer::new("https://issuer.example");
    let ran = Arc::new(AtomicUsize::new(0));
    let server = layer(&issuer).layer(handler(true, Arc::clone(&ran)));
    let tokens = AttachLayer::new(issuer.source().client("shop")).policy(&policy());
    let tokens = tokens.to(&"http://127.0.0.1".parse().unwrap()).unwrap();
    let mut client = InventoryServiceClient::new(tokens.layer(server));
    assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap_err().message(), "of another token");
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}
