//! Decisions for Envoy: the layer's own decision on every request, in the terms of ext_authz, and the proxies
//! that may ask.

use std::{convert::Infallible, fs, future::ready};

use axum::body::Body;
use http::{HeaderMap, Request, Response};
use prost::Message as _;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use token_interceptor::{
    danger::UncheckedPolicy,
    key_set::KeySet,
    layer::AuthorizationLayer,
    policy::{Policy, ServedPolicy},
    test_util::TestIssuer,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::{
    token::v1::{
        ClientAuthentication, IssueTokenRequest, RevokeTokenRequest, client_authentication::Credential,
        token_service_client::TokenServiceClient,
    },
    {
        descriptor,
        policy::{Access, MethodKind, MethodPolicy, Requirement},
    },
};
use token_server::{
    config::{AuditedDecisions, ExtAuthz},
    development::RunningDevelopment,
    envoy::service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
        attribute_context::{self, HttpRequest},
        authorization_client::AuthorizationClient,
        authorization_server::Authorization,
        check_response::HttpResponse,
    },
    grpc::ext_authz::{Admission, ExtAuthz as Service},
};
use tonic::{
    Code, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use tonic_types::pb;
use tower::{Layer as _, ServiceExt as _};

use crate::{
    ca::Ca,
    harness::{channel, development},
};

const FORGERIES: &str = include_str!("../../../token-interceptor/testdata/forgeries.json");
const GET_ITEM: &str = "/inventory.v1.InventoryService/GetItem";
const DELETE_ITEM: &str = "/inventory.v1.InventoryService/DeleteItem";
const OPENING_HOURS: &str = "/inventory.v1.InventoryService/GetOpeningHours";

/// Returns the descriptor set of the example application, as a build writes it.
pub(crate) fn descriptor_set() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let protos = concat!(env!("CARGO_MANIFEST_DIR"), "/../token-interceptor/examples/proto");
    let build = token_proto::build::configure().out_dir(folder.path());
    build.compile(&[format!("{protos}/inventory.proto")], &[protos]).unwrap();
    fs::read(folder.path().join("token_descriptors.bin")).unwrap()
}

fn table() -> Vec<MethodPolicy> {
    let mut table = descriptor::policy(&descriptor_set()).unwrap();
    table.retain(|method| method.path.starts_with("/inventory."));
    table
}

fn policy() -> ServedPolicy {
    Policy::new(&table()).unwrap().serves(&descriptor_set(), &["inventory.v1.InventoryService"]).unwrap()
}

fn layer(verifier: Verifier) -> AuthorizationLayer {
    AuthorizationLayer::new(verifier, policy())
}

fn grpc(path: &str, headers: &[(&str, &str)]) -> HttpRequest {
    let headers = [&[("content-type", "application/grpc"), (":path", path)], headers].concat();
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    HttpRequest { method: "POST".to_owned(), path: path.to_owned(), headers: headers.collect(), header_map: None }
}

fn about(http: HttpRequest) -> CheckRequest {
    let request = Some(attribute_context::Request { http: Some(http) });
    CheckRequest { attributes: Some(AttributeContext { request }) }
}

/// Returns the decision, and checks that the status means the same to a proxy.
async fn decide(service: &impl Authorization, http: HttpRequest) -> HttpResponse {
    decision(service.check(tonic::Request::new(about(http))).await.unwrap().into_inner())
}

fn decision(answer: CheckResponse) -> HttpResponse {
    let decision = answer.http_response.unwrap();
    let lets_through = matches!(decision, HttpResponse::OkResponse(_));
    assert_eq!(answer.status.unwrap().code == i32::from(Code::Ok), lets_through);
    decision
}

fn denied(decision: HttpResponse) -> DeniedHttpResponse {
    match decision {
        HttpResponse::DeniedResponse(denied) => denied,
        HttpResponse::OkResponse(ok) => panic!("let through: {ok:?}"),
    }
}

fn admitted(decision: HttpResponse) -> OkHttpResponse {
    match decision {
        HttpResponse::OkResponse(ok) => ok,
        HttpResponse::DeniedResponse(denied) => panic!("denied: {denied:?}"),
    }
}

/// The header fields that a gRPC client gets.
fn headers(denied: &DeniedHttpResponse) -> HeaderMap {
    let fields = denied.headers.iter().map(|field| field.header.clone().unwrap());
    fields.map(|field| (field.key.parse::<http::HeaderName>().unwrap(), field.value.parse().unwrap())).collect()
}

/// Code, reason, and the challenge.
fn verdict(headers: &HeaderMap) -> (Code, String, Option<String>) {
    let status = Status::from_header_map(headers).unwrap();
    let details = pb::Status::decode(status.details()).unwrap();
    let reason = pb::ErrorInfo::decode(&*details.details[0].value).unwrap().reason;
    let challenge = headers.get("www-authenticate").map(|value| value.to_str().unwrap().to_owned());
    (status.code(), reason, challenge)
}

/// Returns the decision of a tonic server's layer on the same request.
async fn tonic_verdict(layer: &AuthorizationLayer, http: &HttpRequest) -> Option<(Code, String, Option<String>)> {
    let handler = tower::service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let mut request = Request::builder().uri(&http.path);
    for (name, value) in http.headers.iter().filter(|(name, _)| !name.starts_with(':')) {
        request = request.header(name, value);
    }
    let response = layer.layer(handler).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    response.headers().contains_key("grpc-status").then(|| verdict(response.headers()))
}

fn service(layer: &AuthorizationLayer) -> impl Authorization {
    Service::new(layer.layer(Admission), AuditedDecisions::All)
}

#[tokio::test]
async fn the_verdict_is_that_of_the_tonic_layer_for_every_method_and_token() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(issuer.verifier());
    let service = service(&layer);
    let token = || issuer.token().audience("inventory");
    let bearers = [
        None,
        Some("Basic b3JkZXJzOng=".to_owned()),
        Some("Bearer".to_owned()),
        Some("Bearer a.b.c,Bearer d.e.f".to_owned()),
        Some(format!("Bearer {}", token().sign())),
        Some(format!("Bearer {}", token().scope("inventory.read").sign())),
        Some(format!("bearer {}", token().scope("inventory.write").sign())),
        Some(format!("Bearer {}", token().scope("inventory.read inventory.write").sign())),
        Some(format!("Bearer {}", issuer.token().audience("payments").scope("inventory.read").sign())),
        Some(format!("Bearer {}", token().scope("inventory.read").claim("exp", 1).sign())),
    ];
    let mut paths: Vec<String> = table().iter().map(|method| method.path.to_string()).collect();
    assert_eq!(paths.len(), 4);
    let elsewhere = ["/inventory.v1.InventoryService/Other", "/other.v1.Service/GetItem", "//inventory.v1", "/"];
    paths.extend(elsewhere.map(str::to_owned));
    paths.push(GET_ITEM.to_ascii_lowercase());
    paths.push(GET_ITEM.replace("GetItem", "%47etItem"));
    paths.push(format!("{GET_ITEM}?x=1"));
    let (mut let_through, mut refused) = (0, 0);
    for path in &paths {
        for bearer in &bearers {
            let bearer = bearer.as_ref().map(|bearer| ("authorization", &**bearer));
            let request = grpc(path, bearer.as_slice());
            let expected = tonic_verdict(&layer, &request).await;
            match (decide(&service, request).await, expected) {
                (HttpResponse::OkResponse(_), None) => let_through += 1,
                (HttpResponse::DeniedResponse(denied), Some(expected)) => {
                    assert_eq!(verdict(&headers(&denied)), expected, "{path} {bearer:?}");
                    refused += 1;
                }
                (decision, expected) => panic!("{path} {bearer:?}: {decision:?}, the layer says {expected:?}"),
            }
        }
    }
    // By hand: public to all ten; two methods to two tokens each, so is the one with a query; DeleteItem to
    // two.
    assert_eq!((let_through, refused), (10 + 2 * 2 + 2 + 2, 11 * 10 - 18));
}

#[tokio::test]
async fn every_forged_token_is_refused_and_for_its_own_reason() {
    let gallery: Value = serde_json::from_str(FORGERIES).unwrap();
    let keys = KeySet::from_jwks(gallery["jwks"].to_string().as_bytes()).unwrap();
    let trusted = TrustedIssuer::fixed(gallery["issuer"].as_str().unwrap(), keys).unwrap();
    let verifier = Verifier::builder().issuer(trusted).build().unwrap();
    // The valid tokens lack the scopes that the example requires.
    let any = MethodPolicy::new(
        GET_ITEM.into(),
        "inventory".into(),
        Access::Require(Requirement::any_token()),
        MethodKind::Unary,
    );
    let policy = Policy::new(&[any]).unwrap().unchecked(UncheckedPolicy);
    let service = service(&AuthorizationLayer::new(verifier, policy));
    let ask = |token: &Value| {
        let bearer = format!("Bearer {}", token.as_str().unwrap());
        grpc(GET_ITEM, &[("authorization", &bearer)])
    };
    for good in gallery["good"].as_array().unwrap() {
        admitted(decide(&service, ask(&good["token"])).await);
    }
    let forgeries = gallery["forgeries"].as_array().unwrap();
    assert!(forgeries.len() > 100);
    for forgery in forgeries {
        let (code, reason, _) = verdict(&headers(&denied(decide(&service, ask(&forgery["token"])).await)));
        assert_eq!(
            (code, &*reason),
            (Code::Unauthenticated, forgery["reason"].as_str().unwrap()),
            "{}",
            forgery["name"]
        );
    }
}

#[tokio::test]
async fn an_optional_caller_is_named_and_an_invalid_token_denied() {
    let issuer = TestIssuer::new("https://issuer.example");
    let method = MethodPolicy::new(OPENING_HOURS.into(), "inventory".into(), Access::Identify, MethodKind::Unary);
    let policy = Policy::new(&[method]).unwrap().unchecked(UncheckedPolicy);
    let service = service(&AuthorizationLayer::new(issuer.verifier(), policy));
    let bearer = format!("Bearer {}", issuer.token().audience("inventory").sign());
    let forged = format!("{bearer}x");
    let anonymous = admitted(decide(&service, grpc(OPENING_HOURS, &[])).await);
    assert!(anonymous.headers.is_empty());
    let known = admitted(decide(&service, grpc(OPENING_HOURS, &[("authorization", &bearer)])).await);
    assert!(known.headers.iter().any(|field| field.header.as_ref().unwrap().key == "x-token-client-id"));
    denied(decide(&service, grpc(OPENING_HOURS, &[("authorization", &forged)])).await);
}

#[tokio::test]
async fn the_server_behind_learns_who_calls_and_nothing_that_the_client_made_up() {
    let issuer = TestIssuer::new("https://issuer.example");
    let service = service(&layer(issuer.verifier()));
    let token = issuer.token().audience("inventory").scope("inventory.read").client("caf\u{e9} 100%").sign();
    let bearer = format!("Bearer {token}");
    let made_up = [("x-token-subject", "root"), ("x-token-actor", "root"), ("x_token_scopes", "all")];
    let headers = [&[("authorization", &*bearer)], &made_up[..]].concat();
    let ok = admitted(decide(&service, grpc(GET_ITEM, &headers)).await);
    let told: Vec<_> = ok.headers.iter().map(|field| field.header.clone().unwrap()).collect();
    let told = |name: &str| told.iter().find(|field| field.key == name).map(|field| &*field.value);
    assert_eq!(told("x-token-client-id"), Some("caf%C3%A9%20100%25"));
    assert_eq!(told("x-token-subject"), Some("caf%C3%A9%20100%25"));
    assert_eq!(told("x-token-scopes"), Some("inventory.read"));
    assert!(told("x-token-id").is_some() && told("x-token-expires-at").is_some());
    // A proxy removes after it has set: the subject is overwritten, not removed.
    assert_eq!(sorted(ok.headers_to_remove), ["x-token-actor", "x_token_scopes"]);
    assert!(ok.headers.iter().all(|field| field.append_action == 2), "{:?}", ok.headers);

    let ok = admitted(decide(&service, grpc(OPENING_HOURS, &made_up)).await);
    assert!(ok.headers.is_empty());
    assert_eq!(sorted(ok.headers_to_remove), ["x-token-actor", "x-token-subject", "x_token_scopes"]);
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

#[tokio::test]
async fn what_speaks_http_is_answered_as_rfc_6750_has_it() {
    let issuer = TestIssuer::new("https://issuer.example");
    let service = service(&layer(issuer.verifier()));
    let mut request = grpc(GET_ITEM, &[]);
    request.headers.insert("content-type".to_owned(), "application/json".to_owned());
    let denied = denied(decide(&service, request).await);
    assert_eq!(denied.status.unwrap().code, 401);
    assert_eq!(headers(&denied)["www-authenticate"], "Bearer");
    let body: Value = serde_json::from_str(&denied.body).unwrap();
    assert_eq!(body["reason"], "CREDENTIALS_MISSING");
}

/// An issuer that decides for the example application.
async fn issuer(change: impl FnOnce(&mut ExtAuthz)) -> (TempDir, RunningDevelopment) {
    let policy = policy();
    development(|config| {
        let mut own =
            ExtAuthz { address: "127.0.0.1:0".parse().unwrap(), client_ca: None, policy, audit: AuditedDecisions::All };
        change(&mut own);
        config.ext_authz = Some(own);
    })
    .await
}

async fn ask(channel: &Channel, path: &str, token: Option<&str>) -> HttpResponse {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let bearer = bearer.as_ref().map(|bearer| ("authorization", &**bearer));
    let answer = AuthorizationClient::new(channel.clone()).check(about(grpc(path, bearer.as_slice()))).await;
    decision(answer.unwrap().into_inner())
}

async fn token(dev: &RunningDevelopment) -> String {
    let request = IssueTokenRequest {
        client: Some(example(dev)),
        audiences: vec!["inventory".to_owned()],
        ..IssueTokenRequest::default()
    };
    let answer = TokenServiceClient::new(channel(dev).await).issue_token(request).await.unwrap();
    answer.into_inner().token.unwrap().value
}

fn example(dev: &RunningDevelopment) -> ClientAuthentication {
    let secret = dev.example.secret.expose_secret().to_owned();
    ClientAuthentication { client_id: dev.example.id.clone(), credential: Some(Credential::ClientSecret(secret)) }
}

fn reason(decision: HttpResponse) -> (Code, String, i32) {
    let denied = denied(decision);
    let (code, reason, _) = verdict(&headers(&denied));
    (code, reason, denied.status.unwrap().code)
}

#[tokio::test]
async fn an_issuer_decides_about_its_own_tokens_until_they_are_revoked() {
    let (_folder, dev) = issuer(|_| {}).await;
    let address = dev.server.ext_authz_addr().unwrap();
    let proxy = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let token = token(&dev).await;

    let ok = admitted(ask(&proxy, GET_ITEM, Some(&token)).await);
    assert_eq!(ok.headers[0].header.as_ref().unwrap().value, "orders");
    admitted(ask(&proxy, OPENING_HOURS, None).await);
    let missing = reason(ask(&proxy, GET_ITEM, None).await);
    assert_eq!(missing, (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned(), 401));
    let scope = reason(ask(&proxy, DELETE_ITEM, Some(&token)).await);
    assert_eq!(scope, (Code::PermissionDenied, "SCOPE_INSUFFICIENT".to_owned(), 403));
    let unknown = reason(ask(&proxy, "/m2m.token.v1.TokenService/IssueToken", Some(&token)).await);
    assert_eq!(unknown, (Code::PermissionDenied, "METHOD_NOT_DECLARED".to_owned(), 403));

    let request = RevokeTokenRequest { client: Some(example(&dev)), token: token.clone() };
    let mut tokens = TokenServiceClient::new(channel(&dev).await);
    tokens.revoke_token(request).await.unwrap();
    let revoked = reason(ask(&proxy, GET_ITEM, Some(&token)).await);
    assert_eq!(revoked, (Code::Unauthenticated, "TOKEN_REVOKED".to_owned(), 401));
    dev.server.shutdown().await;
}

#[tokio::test]
async fn the_port_that_everybody_reaches_does_not_decide() {
    let (_folder, dev) = issuer(|_| {}).await;
    let asked = AuthorizationClient::new(channel(&dev).await).check(about(grpc(OPENING_HOURS, &[]))).await;
    assert_eq!(asked.unwrap_err().code(), Code::Unimplemented);
}

/// Returns the answer to a proxy with that certificate.
async fn asked(
    dev: &RunningDevelopment,
    identity: Option<(String, String)>,
) -> Result<tonic::Response<CheckResponse>, Status> {
    let address = format!("https://localhost:{}", dev.server.ext_authz_addr().unwrap().port());
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(fs::read(&dev.ca_file).unwrap()));
    if let Some((certificate, key)) = identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap();
    AuthorizationClient::new(endpoint.connect_lazy()).check(about(grpc(OPENING_HOURS, &[]))).await
}

#[tokio::test]
async fn beyond_loopback_only_a_certificate_of_the_proxies_ca_may_ask() {
    let (proxies, others) = (Ca::new(), Ca::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), proxies.pem()).unwrap();
    let (_folder, dev) = issuer(|own| own.client_ca = Some(file.path().to_owned())).await;
    for (identity, may) in [(None, false), (Some(others.leaf()), false), (Some(proxies.leaf()), true)] {
        let asked = asked(&dev, identity).await;
        assert_eq!(asked.is_ok(), may, "{asked:?}");
    }
    let address = format!("https://localhost:{}", dev.server.ext_authz_addr().unwrap().port());
    let plaintext = Endpoint::from_shared(address.replace("https", "http")).unwrap().connect_lazy();
    assert!(AuthorizationClient::new(plaintext).check(about(grpc(OPENING_HOURS, &[]))).await.is_err());
    // Roots are reloaded here too without a restart, and invalid ones change nothing.
    for roots in [others.pem(), "nothing"] {
        fs::write(file.path(), roots).unwrap();
        dev.server.reload();
        for (identity, may) in [(Some(proxies.leaf()), false), (Some(others.leaf()), true)] {
            assert_eq!(asked(&dev, identity).await.is_ok(), may, "{roots}");
        }
    }
}
