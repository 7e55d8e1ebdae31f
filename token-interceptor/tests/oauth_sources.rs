//! Sources against an OAuth server over HTTP, on loopback.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "one test program: what is unexpected fails the test")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use token_interceptor::{
    signature::{Algorithm, SigningKey},
    source::{
        AudienceParameter, ClientCredentials, IssuerBuilder, IssuerRefusal, PrivateKeyJwt, SecretIn, SubjectToken,
        TokenExchange, TokenRequest, TokenSource,
    },
};

/// An OAuth server that records its requests.
#[derive(Default)]
struct Server {
    url: Mutex<String>,
    posts: Mutex<Vec<Post>>,
    /// The error to answer with instead of a token.
    failure: Mutex<Option<(u16, &'static str, &'static str)>>,
    metadata_read: Mutex<Vec<&'static str>>,
    methods: Mutex<Vec<&'static str>>,
}

/// One request: its form, and its `authorization`.
#[derive(Clone)]
struct Post {
    form: BTreeMap<String, String>,
    authorization: Option<String>,
}

type Shared = Arc<Server>;

async fn start() -> (Shared, String) {
    let server = Shared::default();
    let app = Router::new()
        .route("/t/token", post(token))
        .route("/.well-known/oauth-authorization-server/t", get(|| async { StatusCode::NOT_FOUND }))
        .route("/t/.well-known/openid-configuration", get(metadata))
        .with_state(Arc::clone(&server));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/t", listener.local_addr().unwrap());
    url.clone_into(&mut server.url.lock().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (server, url)
}

async fn metadata(State(server): State<Shared>) -> Response {
    server.metadata_read.lock().unwrap().push("openid-configuration");
    let url = server.url.lock().unwrap().clone();
    let methods = server.methods.lock().unwrap().clone();
    Json(json!({"issuer": url, "token_endpoint": format!("{url}/token"), "token_endpoint_auth_methods_supported": methods}))
        .into_response()
}

async fn token(
    State(server): State<Shared>,
    headers: HeaderMap,
    Form(form): Form<BTreeMap<String, String>>,
) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    server.posts.lock().unwrap().push(Post { form, authorization });
    match *server.failure.lock().unwrap() {
        Some((status, retry_after, error)) => {
            let body = Json(json!({"error": error, "error_description": "as told"}));
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            if !retry_after.is_empty() {
                response.headers_mut().insert("retry-after", retry_after.parse().unwrap());
            }
            response
        }
        None => Json(json!({"access_token": "abc", "token_type": "bearer", "expires_in": 300})).into_response(),
    }
}

fn request() -> TokenRequest {
    TokenRequest::for_audience("https://api.example").with_scopes(["b", "a"])
}

fn last(server: &Server) -> Post {
    server.posts.lock().unwrap().last().unwrap().clone()
}

fn names(form: &BTreeMap<String, String>) -> Vec<&str> {
    form.keys().map(String::as_str).collect()
}

#[tokio::test]
async fn client_secret_basic_at_a_known_endpoint() {
    let (server, url) = start().await;
    let issuer = IssuerBuilder::token_endpoint(format!("{url}/token"));
    let issued = ClientCredentials::new("a:b", "s&c", issuer).unwrap().fetch(&request()).await.unwrap();
    assert_eq!((issued.token.expose(), issued.expires_in), ("abc", Duration::from_secs(300)));
    let Post { form, authorization } = last(&server);
    assert_eq!(names(&form), ["audience", "grant_type", "scope"]);
    assert_eq!((&*form["grant_type"], &*form["scope"]), ("client_credentials", "a b"));
    let basic = authorization.unwrap();
    assert_eq!(STANDARD.decode(basic.strip_prefix("Basic ").unwrap()).unwrap(), b"a%3Ab:s%26c");
}

#[tokio::test]
async fn client_secret_post_and_a_resource_indicator() {
    let (server, url) = start().await;
    let issuer = IssuerBuilder::token_endpoint(format!("{url}/token"))
        .secret_in(SecretIn::Form)
        .audience_parameter(AudienceParameter::Resource);
    ClientCredentials::new("orders", "s&c", issuer).unwrap().fetch(&request()).await.unwrap();
    let Post { form, authorization } = last(&server);
    assert_eq!(names(&form), ["client_id", "client_secret", "grant_type", "resource", "scope"]);
    assert_eq!((&*form["client_secret"], authorization), ("s&c", None));
}

#[tokio::test]
async fn an_issuer_is_found_by_its_identifier_and_its_ways_are_followed() {
    let (server, url) = start().await;
    server.methods.lock().unwrap().push("client_secret_post");
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    for _ in 0..3 {
        source.fetch(&TokenRequest::without_audience()).await.unwrap();
    }
    assert_eq!(names(&last(&server).form), ["client_id", "client_secret", "grant_type"]);
    assert_eq!(server.metadata_read.lock().unwrap().len(), 1, "once");
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_looked_for_again() {
    let (server, url) = start().await;
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    source.fetch(&request()).await.unwrap();
    let gone =
        [(404, "not_found"), (404, "invalid_client"), (405, "x"), (410, "x"), (400, "bad_path"), (401, "x"), (503, "")];
    for (index, (status, error)) in gone.into_iter().enumerate() {
        *server.failure.lock().unwrap() = Some((status, "", error));
        source.fetch(&request()).await.unwrap_err();
        *server.failure.lock().unwrap() = None;
        source.fetch(&request()).await.unwrap();
        assert_eq!(server.metadata_read.lock().unwrap().len(), index + 2, "{status} {error}");
    }
    // The cached metadata survive the endpoint's own refusal.
    *server.failure.lock().unwrap() = Some((400, "", "invalid_scope"));
    source.fetch(&request()).await.unwrap_err();
    *server.failure.lock().unwrap() = None;
    source.fetch(&request()).await.unwrap();
    assert_eq!(server.metadata_read.lock().unwrap().len(), gone.len() + 1);
}

#[tokio::test]
async fn metadata_are_read_again_when_they_are_old() {
    let (server, url) = start().await;
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    for (pause, read) in [(0, 1), (30, 1), (40, 2), (10, 2)] {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(60 * pause)).await;
        tokio::time::resume();
        source.fetch(&request()).await.unwrap();
        assert_eq!(server.metadata_read.lock().unwrap().len(), read, "after {pause} minutes");
    }
}

#[tokio::test]
async fn an_endpoint_that_stops_answering_is_looked_for_again() {
    let (server, url) = start().await;
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    source.fetch(&request()).await.unwrap();
    *server.failure.lock().unwrap() = Some((503, "7", "temporarily_unavailable"));
    let error = source.fetch(&request()).await.unwrap_err();
    assert!(error.is_transient());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    *server.failure.lock().unwrap() = None;
    source.fetch(&request()).await.unwrap();
    assert_eq!(server.metadata_read.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn private_key_jwt_sends_an_assertion_and_no_secret() {
    let (server, url) = start().await;
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let key = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    let source = ClientCredentials::new("orders", PrivateKeyJwt::new(key, &url), IssuerBuilder::discover(&url));
    source.unwrap().fetch(&request()).await.unwrap();
    let Post { form, authorization } = last(&server);
    let expected = ["audience", "client_assertion", "client_assertion_type", "client_id", "grant_type", "scope"];
    assert_eq!(names(&form), expected);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert_eq!(authorization, None);
}

#[tokio::test]
async fn token_exchange_sends_the_subject_token() {
    let (server, url) = start().await;
    let issuer = IssuerBuilder::token_endpoint(format!("{url}/token"));
    let source = TokenExchange::new("shop", "s", issuer).unwrap();
    let refusal = source.fetch(&request()).await.unwrap_err().refusal();
    assert_eq!(refusal, Some(IssuerRefusal::Request), "nothing to exchange");
    source.fetch(&request().on_behalf_of(SubjectToken::new("alice.s.token"))).await.unwrap();
    let form = last(&server).form;
    assert_eq!(names(&form), ["audience", "grant_type", "scope", "subject_token", "subject_token_type"]);
    assert_eq!(form["subject_token"], "alice.s.token");
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
}

#[tokio::test]
async fn a_no_of_the_server_is_a_refusal() {
    let (server, url) = start().await;
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    for (status, error, refusal) in [
        (401, "invalid_client", IssuerRefusal::ClientAuthentication),
        (400, "invalid_scope", IssuerRefusal::Scope),
        (400, "invalid_target", IssuerRefusal::Target),
        (400, "unauthorized_client", IssuerRefusal::ClientNotAuthorized),
    ] {
        *server.failure.lock().unwrap() = Some((status, "", error));
        assert_eq!(source.fetch(&request()).await.unwrap_err().refusal(), Some(refusal), "{error}");
    }
}

#[tokio::test]
async fn a_source_of_ones_own_token_does_not_pass_it_off_as_a_callers() {
    let (server, url) = start().await;
    let source = ClientCredentials::new("orders", "s", IssuerBuilder::discover(&url)).unwrap();
    let for_alice = request().on_behalf_of(SubjectToken::new("alice.s.token"));
    assert_eq!(source.fetch(&for_alice).await.unwrap_err().refusal(), Some(IssuerRefusal::Request));
    assert!(server.posts.lock().unwrap().is_empty());
}
