//! The layer around a real tonic server, and around an axum router.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{convert::Infallible, future::pending, pin::Pin, time::Duration};

use axum::{Extension, Router, body::to_bytes, routing::get};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header::AUTHORIZATION};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use inventory::{
    DeleteItemRequest, DeleteItemResponse, GetItemRequest, GetItemResponse, GetOpeningHoursRequest,
    GetOpeningHoursResponse, ListItemsRequest, ListItemsResponse,
    inventory_service_client::InventoryServiceClient,
    inventory_service_server::{InventoryService, InventoryServiceServer, SERVICE_NAME},
};
use prost::Message as _;
use prost_types::{FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto, ServiceDescriptorProto};
use token_interceptor::{
    attach::TokenLayer,
    caller::Caller,
    danger,
    interceptor::AuthorizationInterceptor,
    layer::AuthorizationLayer,
    policy::{Policy, PolicyError, ServedPolicy},
    protected_resource::ProtectedResource,
    revocation::Revocations,
    test_util::TestIssuer,
    verify::Verifier,
};
use token_proto::policy::{Access, MethodKind, MethodPolicy, Requirement, StreamExpiry};
use tokio_stream::{Stream, StreamExt as _};
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    transport::{Channel, Server, server::TcpIncoming},
};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _};

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
mod inventory {
    tonic::include_proto!("inventory.v1");
}

static POLICY: &[MethodPolicy] = token_proto::include_policy!();
const DESCRIPTORS: &[u8] = token_proto::include_descriptor_set!();

struct Inventory;

#[tonic::async_trait]
impl InventoryService for Inventory {
    async fn get_item(&self, request: Request<GetItemRequest>) -> Result<Response<GetItemResponse>, Status> {
        let asked_by = Caller::of(&request)?.client_id().to_owned();
        Ok(Response::new(GetItemResponse { item: None, asked_by }))
    }

    type ListItemsStream = Pin<Box<dyn Stream<Item = Result<ListItemsResponse, Status>> + Send>>;

    /// One message at once, and no other for a long time.
    async fn list_items(&self, _: Request<ListItemsRequest>) -> Result<Response<Self::ListItemsStream>, Status> {
        let first = tokio_stream::once(Ok(ListItemsResponse::default()));
        Ok(Response::new(Box::pin(first.chain(tokio_stream::pending()))))
    }

    async fn delete_item(&self, _: Request<DeleteItemRequest>) -> Result<Response<DeleteItemResponse>, Status> {
        Ok(Response::new(Default::default()))
    }

    async fn get_opening_hours(
        &self,
        request: Request<GetOpeningHoursRequest>,
    ) -> Result<Response<GetOpeningHoursResponse>, Status> {
        assert!(request.extensions().get::<Caller>().is_none());
        Ok(Response::new(Default::default()))
    }
}

/// Our inventory only: the table holds every example's methods.
fn policy() -> Vec<MethodPolicy> {
    POLICY.iter().filter(|method| method.path.starts_with("/inventory.v1.")).cloned().collect()
}

async fn serve(layer: AuthorizationLayer) -> InventoryServiceClient<Channel> {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = Server::builder().layer(layer).add_service(InventoryServiceServer::new(Inventory));
    tokio::spawn(server.serve_with_incoming(incoming));
    InventoryServiceClient::connect(format!("http://{address}")).await.unwrap()
}

struct Served {
    issuer: TestIssuer,
    revocations: Revocations,
    client: InventoryServiceClient<Channel>,
}

async fn served() -> Served {
    served_with(&policy()).await
}

async fn served_with(methods: &[MethodPolicy]) -> Served {
    let (issuer, revocations) = (TestIssuer::new("https://issuer.example"), Revocations::new());
    let trusted = issuer.trusted().revocations(revocations.clone());
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let policy = Policy::new(methods).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let client = serve(AuthorizationLayer::new(verifier, policy)).await;
    Served { issuer, revocations, client }
}

fn with<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn reason(status: &Status) -> (Code, String) {
    (status.code(), status.get_details_error_info().unwrap().reason)
}

#[tokio::test]
async fn handlers_know_their_caller() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").client("shop").sign();
    for _ in 0..3 {
        let answer = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
        assert_eq!(answer.into_inner().asked_by, "shop");
    }
}

#[tokio::test]
async fn a_missing_token_reads_unauthenticated_with_a_bare_challenge() {
    let mut served = served().await;
    let status = served.client.get_item(GetItemRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
    assert_eq!(status.metadata().get("www-authenticate").unwrap(), "Bearer");
}

#[tokio::test]
async fn two_authorizations_are_refused_even_if_both_are_good() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    let mut request = with(&token, GetItemRequest::default());
    request.metadata_mut().append("authorization", format!("Bearer {token}").parse().unwrap());
    let status = served.client.get_item(request).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_INVALID".into()));
}

#[tokio::test]
async fn a_missing_scope_is_named() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    let status = served.client.delete_item(with(&token, DeleteItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "SCOPE_INSUFFICIENT".into()));
    assert_eq!(status.get_details_error_info().unwrap().metadata["scope"], "inventory.write");
    assert_eq!(
        status.metadata().get("www-authenticate").unwrap(),
        r#"Bearer error="insufficient_scope", scope="inventory.write""#
    );
}

#[tokio::test]
async fn a_public_method_looks_at_no_token() {
    let mut served = served().await;
    served.client.get_opening_hours(GetOpeningHoursRequest {}).await.unwrap();
    served.client.get_opening_hours(with("rubbish", GetOpeningHoursRequest {})).await.unwrap();
}

#[tokio::test]
async fn a_token_seen_before_is_refused_once_it_has_expired() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.issuer.clock().advance(Duration::from_secs(305));
    let status = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_EXPIRED".into()));
}

#[tokio::test]
async fn a_token_seen_before_is_refused_once_it_is_revoked() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").claim("jti", "t1");
    let (token, later) = (token.sign(), served.issuer.token().scope("inventory.read").sign());
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.revocations.revoke_token("t1", token_interceptor::clock::Clock::now(&*served.issuer.clock()));
    let status = served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "TOKEN_REVOKED".into()));
    served.client.get_item(with(&later, GetItemRequest::default())).await.unwrap();
}

#[tokio::test]
async fn a_token_seen_before_meets_each_methods_own_demand() {
    let mut served = served().await;
    let token = served.issuer.token().scope("inventory.read").sign();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
    served.client.delete_item(with(&token, DeleteItemRequest::default())).await.unwrap_err();
    served.client.get_item(with(&token, GetItemRequest::default())).await.unwrap();
}

/// A stream with one message, over a simulated hour: when it ends, if it does, and with what trailers.
async fn end_of_stream(stream_expiry: StreamExpiry) -> Option<(Duration, HeaderMap)> {
    let issuer = TestIssuer::new("https://issuer.example");
    let requirement = Requirement { stream_expiry, ..Requirement::any_token() };
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
    // As after a night's sleep: the day has moved on, and monotonic time has not.
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

/// A service of one method, as it is declared and as it is described.
fn upload(declared: MethodKind, requirement: Requirement, described: MethodKind) -> Result<ServedPolicy, PolicyError> {
    let access = Access::Require(requirement);
    let method = MethodPolicy { path: "/Files/Upload".into(), audience: "inventory".into(), access, kind: declared };
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

/// A call that its handler never answers, over a simulated hour: whether it ends, and when.
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
    let allowed = Requirement { stream_expiry: StreamExpiry::Allow, ..Requirement::any_token() };
    assert!(end_of_call(MethodKind::ClientStreaming, allowed).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_that_takes_its_time_is_not_cut_off() {
    for kind in [MethodKind::Unary, MethodKind::ServerStreaming] {
        assert!(end_of_call(kind, Requirement::any_token()).await.is_none(), "{kind:?}");
    }
}

#[tokio::test]
async fn callers_and_age_are_limited_where_the_method_says_so() {
    let mut methods = policy();
    for method in &mut methods {
        if let Access::Require(requirement) = &mut method.access {
            requirement.callers = vec!["shop".into(), "batch-*".into()].into();
            requirement.max_token_age = Some(Duration::from_secs(60));
        }
    }
    let mut served = served_with(&methods).await;
    let token = |client: &str| served.issuer.token().scope("inventory.read").client(client).sign();
    let (shop, batch, other) = (token("shop"), token("batch-7"), token("shopper"));
    for token in [&shop, &batch] {
        served.client.get_item(with(token, GetItemRequest::default())).await.unwrap();
    }
    let status = served.client.get_item(with(&other, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "CALLER_NOT_ALLOWED".into()));
    served.issuer.clock().advance(Duration::from_secs(66));
    let status = served.client.get_item(with(&shop, GetItemRequest::default())).await.unwrap_err();
    assert_eq!(reason(&status), (Code::PermissionDenied, "TOKEN_TOO_OLD".into()));
}

#[tokio::test]
async fn an_applications_client_layer_takes_its_tokens_from_the_test_issuer() {
    let issuer = TestIssuer::new("https://issuer.example");
    let tokens = TokenLayer::new(issuer.source().client("shop")).policy(&policy());
    let tokens = tokens.destination(&"http://127.0.0.1".parse().unwrap()).unwrap();
    let served = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let authorization = AuthorizationLayer::new(issuer.verifier(), served);
    let service = tokens.layer(authorization.layer(InventoryServiceServer::new(Inventory)));
    let mut client = InventoryServiceClient::new(service);
    assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap().into_inner().asked_by, "shop");
    client.delete_item(DeleteItemRequest::default()).await.unwrap();
    // An hour later by the issuer's clock: the server refuses the token, and the layer fetches another.
    issuer.clock().advance(Duration::from_secs(3600));
    assert_eq!(client.get_item(GetItemRequest::default()).await.unwrap().into_inner().asked_by, "shop");
}

#[tokio::test]
async fn the_interceptor_guards_one_service() {
    let issuer = TestIssuer::new("https://issuer.example");
    let interceptor = AuthorizationInterceptor::new(issuer.verifier(), "inventory", Requirement::any_token());
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = InventoryServiceServer::with_interceptor(Inventory, interceptor);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
    let mut client = InventoryServiceClient::connect(format!("http://{address}")).await.unwrap();
    let answer = client.get_item(with(&issuer.token().sign(), GetItemRequest::default())).await.unwrap();
    assert_eq!(answer.into_inner().asked_by, "orders");
    let status = client.get_item(GetItemRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), (Code::Unauthenticated, "CREDENTIALS_MISSING".into()));
}

mod http_routes {
    //! The same layer, in front of what is not gRPC.

    use super::*;

    async fn ask(issuer: &TestIssuer, scope: &str, authorization: Option<String>) -> http::Response<axum::body::Body> {
        let requirement = Requirement { all_scopes: vec![scope.to_owned().into()].into(), ..Requirement::any_token() };
        let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", requirement);
        let whoami = get(|Extension(caller): Extension<Caller>| async move { caller.client_id().to_owned() });
        let router = Router::new().route("/whoami", whoami).layer(layer);
        let mut request = http::Request::get("/whoami").body(axum::body::Body::empty()).unwrap();
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, HeaderValue::try_from(authorization).unwrap());
        }
        router.oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_good_token_reaches_the_handler() {
        let issuer = TestIssuer::new("https://issuer.example");
        let token = issuer.token().scope("read").sign();
        let answer = ask(&issuer, "read", Some(format!("Bearer {token}"))).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(to_bytes(answer.into_body(), 100).await.unwrap(), "orders");
    }

    #[tokio::test]
    async fn rfc_9728_section_5_1_challenges_say_where_the_metadata_are() {
        let issuer = TestIssuer::new("https://issuer.example");
        let resource = ProtectedResource::new("https://api.example/v1").unwrap();
        let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token())
            .resource(&resource)
            .cache_bytes_max(0);
        let router = Router::new().route("/", get(|| async {})).layer(layer);
        let request = http::Request::get("/").body(axum::body::Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(
            answer.headers()["www-authenticate"],
            r#"Bearer resource_metadata="https://api.example/.well-known/oauth-protected-resource/v1""#
        );
    }

    #[tokio::test]
    async fn refusals_are_those_of_rfc_6750() {
        let issuer = TestIssuer::new("https://issuer.example");
        let good = issuer.token().scope("read").sign();
        for (scope, authorization, status, challenge, error) in [
            ("read", None, 401, "Bearer", "invalid_request"),
            ("read", Some(format!("Bearer {good}x")), 401, "Bearer error=\"invalid_token\"", "invalid_token"),
            ("write", Some(format!("Bearer {good}")), 403, "Bearer error=\"insufficient_scope\"", "insufficient_scope"),
        ] {
            let answer = ask(&issuer, scope, authorization).await;
            assert_eq!(answer.status(), status);
            assert!(answer.headers()["www-authenticate"].to_str().unwrap().starts_with(challenge));
            assert_eq!(answer.headers()["cache-control"], "no-store");
            let body: serde_json::Value =
                serde_json::from_slice(&to_bytes(answer.into_body(), 1000).await.unwrap()).unwrap();
            assert_eq!(body["error"], error);
        }
    }
}

mod policies {
    //! A server refuses to start over a policy that does not fit what it serves.

    use super::*;

    fn faults(methods: &[MethodPolicy], services: &[&str]) -> Vec<String> {
        Policy::new(methods)
            .and_then(|policy| policy.serves(DESCRIPTORS, services))
            .map(|_| Vec::new())
            .unwrap_or_else(|error| error.faults().to_vec())
    }

    #[test]
    fn a_policy_that_fits_is_accepted() {
        assert_eq!(faults(&policy(), &[SERVICE_NAME]), [""; 0]);
    }

    #[test]
    fn a_served_method_without_a_policy_is_an_error() {
        let mut methods = policy();
        methods.retain(|method| !method.path.ends_with("/DeleteItem"));
        methods[0].access = Access::Undeclared;
        let faults = faults(&methods, &[SERVICE_NAME]);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("/inventory.v1.InventoryService/DeleteItem"));
    }

    #[test]
    fn a_policy_without_a_method_is_an_error() {
        let mut methods = policy();
        methods.push(MethodPolicy { path: "/inventory.v1.InventoryService/Sell".into(), ..methods[0].clone() });
        assert!(faults(&methods, &[SERVICE_NAME])[0].contains("/Sell"));
    }

    #[test]
    fn a_method_that_is_of_another_kind_than_declared_is_an_error() {
        let kinds = [
            MethodKind::Unary,
            MethodKind::ServerStreaming,
            MethodKind::ClientStreaming,
            MethodKind::BidirectionalStreaming,
        ];
        for (declared, described) in kinds.into_iter().flat_map(|kind| kinds.map(|other| (kind, other))) {
            let outcome = upload(declared, Requirement::any_token(), described);
            assert_eq!(outcome.is_ok(), declared == described, "{declared:?} {described:?}");
        }
    }

    #[test]
    fn a_service_that_is_not_described_is_an_error() {
        assert!(faults(&policy(), &[SERVICE_NAME, "shop.v1.Till"])[0].contains("shop.v1.Till"));
        assert!(Policy::new(&policy()).unwrap().serves(b"\xff", &[SERVICE_NAME]).is_err());
    }

    #[test]
    fn contradictions_and_odd_paths_are_errors() {
        let mut twice = policy();
        twice.push(MethodPolicy { access: Access::Public, ..twice[0].clone() });
        assert!(Policy::new(&twice).is_err());
        for path in ["", "/", "/a", "a/b", "/a/b/c", "/a/b.c", "/a/*", "/a/b/", "/a//b", "/a/%62"] {
            let odd = MethodPolicy { path: path.into(), ..policy()[0].clone() };
            assert!(Policy::new(&[odd]).is_err(), "{path}");
            assert!(Policy::new(&[]).unwrap().open(path).is_err(), "{path}");
        }
    }

    #[tokio::test]
    async fn health_is_open_and_reflection_is_not_unless_opened() {
        let layer = |policy: Policy| {
            let policy = policy.unchecked(danger::UncheckedPolicy);
            let issuer = TestIssuer::new("https://issuer.example");
            let inner = tower::service_fn(|_: http::Request<axum::body::Body>| async {
                Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
            });
            AuthorizationLayer::new(issuer.verifier(), policy).layer(inner)
        };
        const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        let empty = || Policy::new(&[]).unwrap();
        for (policy, path, status) in [
            (empty(), "/grpc.health.v1.Health/Check", 200),
            (empty(), "/grpc.health.v1.Health/Watch", 200),
            (empty().without_public_health(), "/grpc.health.v1.Health/Check", 403),
            (empty().without_public_health().with_public_health(), "/grpc.health.v1.Health/Check", 200),
            (empty(), REFLECTION, 403),
            (empty().open(REFLECTION).unwrap(), REFLECTION, 200),
        ] {
            let request = http::Request::post(path).body(axum::body::Body::empty()).unwrap();
            assert_eq!(layer(policy).oneshot(request).await.unwrap().status(), status, "{path}");
        }
    }
}
