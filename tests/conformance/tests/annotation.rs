//! A change of one annotation in a `.proto` changes what the Rust server layer enforces and what the Rust
//! client layer requests. The documentation's pages show the same for the other languages.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    convert::Infallible,
    path::Path,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use http::{HeaderValue, Request, Response};
use token_interceptor::{
    attach::AttachLayer,
    danger,
    layer::AuthorizationLayer,
    policy::Policy,
    source::{IssuedToken, SourceError, TokenRequest, TokenSource},
    test_util::{TestIssuer, TestSource},
};
use token_proto::descriptor;
use tonic::{Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn};

const PATH: &str = "http://localhost/shop.v1.Shop/Read";

/// The descriptors of a service whose one method demands `scope`.
fn descriptors(scope: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"syntax = "proto3";
        package shop.v1;
        import "m2m/auth/v1/annotations.proto";
        message M {{}}
        service Shop {{
          option (m2m.auth.v1.service).audience = "shop";
          rpc Read(M) returns (M) {{ option (m2m.auth.v1.method).require = {{all_scopes: "{scope}"}}; }}
        }}"#
    );
    std::fs::write(folder.path().join("shop.proto"), text).unwrap();
    let contract = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let mut compiler = protox::Compiler::new([folder.path(), &contract]).unwrap();
    compiler.include_imports(true).open_file("shop.proto").unwrap();
    compiler.encode_file_descriptor_set()
}

fn call() -> Request<Body> {
    Request::post(PATH).header("content-type", "application/grpc").body(Body::empty()).unwrap()
}

fn code(response: &Response<impl Sized>) -> i32 {
    Status::from_header_map(response.headers()).map_or(0, |status| status.code().into())
}

/// Returns the code that a token for `scope` gets from a server with these descriptors.
async fn enforced(descriptors: &[u8], scope: &str) -> i32 {
    let issuer = TestIssuer::new("https://issuer.example");
    let table = descriptor::policy(descriptors).unwrap();
    let policy = Policy::new(&table).unwrap().serves(descriptors, &["shop.v1.Shop"]).unwrap();
    let handler = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let service = AuthorizationLayer::new(issuer.verifier(), policy).layer(handler);
    let mut request = call();
    let token = format!("Bearer {}", issuer.token().audience("shop").scope(scope).sign());
    request.headers_mut().insert("authorization", HeaderValue::try_from(token).unwrap());
    code(&service.oneshot(request).await.unwrap())
}

/// A source that notes what is requested.
struct Noting {
    source: TestSource,
    requested: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl TokenSource for Noting {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        let noted = format!("{} {}", request.audience().unwrap_or_default(), request.scope_parameter());
        self.requested.lock().unwrap().push(noted);
        self.source.fetch(request).await
    }
}

/// Returns what a client with these descriptors requests for a call.
async fn requested(descriptors: &[u8]) -> Vec<String> {
    let requested = Arc::<Mutex<Vec<String>>>::default();
    let source =
        Noting { source: TestIssuer::new("https://issuer.example").source(), requested: Arc::clone(&requested) };
    let layer = AttachLayer::new(source).policy(&descriptor::policy(descriptors).unwrap());
    let callee = service_fn(|_: Request<Body>| async { Ok::<_, String>(Response::new(Body::empty())) });
    layer.any_destination(danger::AllowPlaintext).layer(callee).oneshot(call()).await.unwrap();
    let requested = requested.lock().unwrap();
    requested.clone()
}

#[tokio::test]
async fn one_changed_annotation_changes_both_ends() {
    let (before, after) = (descriptors("shop.read"), descriptors("shop.write"));
    assert_eq!((enforced(&before, "shop.read").await, enforced(&before, "shop.write").await), (0, 7));
    assert_eq!((enforced(&after, "shop.read").await, enforced(&after, "shop.write").await), (7, 0));
    assert_eq!(
        (requested(&before).await, requested(&after).await),
        (vec!["shop shop.read".to_owned()], vec!["shop shop.write".to_owned()])
    );
}
