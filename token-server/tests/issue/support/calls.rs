//! Calls over either protocol.

use std::{collections::BTreeMap, sync::Arc};

use axum::body::Body;
use base64::{Engine as _, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use token_interceptor::{json, signature::VerifyingKey};
use token_proto::token::v1::{
    self, client_authentication::Credential, token_service_client::TokenServiceClient,
    token_service_server::TokenServiceServer,
};
use token_server::{grpc as protocol, http::router};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tower::ServiceExt as _;

use super::World;

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Map<String, Value> {
        json::object(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["error"].as_str().unwrap().to_owned())
    }

    pub(crate) fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) async fn send(world: &World, request: Request<Body>) -> Answer {
    let response = router(Arc::clone(&world.issuer), world.registrar.clone()).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer { status: parts.status, headers: parts.headers, body: body.collect().await.unwrap().to_bytes().to_vec() }
}

pub(crate) async fn get(world: &World, path: &str) -> Answer {
    send(world, Request::get(path).body(Body::empty()).unwrap()).await
}

/// A POST of a form to the token endpoint, with further headers.
pub(crate) fn form(body: &str, headers: &[(header::HeaderName, String)]) -> Request<Body> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("/oauth/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) async fn post(world: &World, body: &str) -> Answer {
    send(world, form(body, &[])).await
}

/// `client_secret_post` for the client `orders`, with further parameters.
pub(crate) async fn post_as_orders(world: &World, parameters: &str) -> Answer {
    let secret = &world.secret;
    post(world, &format!("grant_type=client_credentials&client_id=orders&client_secret={secret}{parameters}")).await
}

pub(crate) fn basic(client_id: &str, secret: &str) -> (header::HeaderName, String) {
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encode(client_id), encode(secret));
    (header::AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
}

pub(crate) fn grpc(world: &World) -> TokenServiceClient<TokenServiceServer<protocol::token::TokenService>> {
    TokenServiceClient::new(protocol::token::server(Arc::clone(&world.issuer)))
}

pub(crate) fn message(client_id: &str, secret: &str) -> v1::IssueTokenRequest {
    v1::IssueTokenRequest {
        client: Some(v1::ClientAuthentication {
            client_id: client_id.to_owned(),
            credential: Some(Credential::ClientSecret(secret.to_owned())),
        }),
        ..v1::IssueTokenRequest::default()
    }
}

/// The request of the client `orders` for its defaults.
pub(crate) fn message_of_orders(world: &World) -> v1::IssueTokenRequest {
    message("orders", &world.secret)
}

/// Code and `ErrorInfo.reason`.
pub(crate) fn reason(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    (status.code(), info.map(|info| info.reason).unwrap_or_default())
}

/// Header and claims of a token whose signature is the issuer's.
pub(crate) fn verified(world: &World, token: &str) -> (Map<String, Value>, Map<String, Value>) {
    let jwk = json::object(world.signing_key.public_jwk().to_json().as_bytes()).unwrap();
    let key = VerifyingKey::from_jwk(&jwk).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    assert!(key.verifies(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()), "forged: {token}");
    let (header, claims) = signed.split_once('.').unwrap();
    let read = |part: &str| json::object(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (read(header), read(claims))
}

pub(crate) fn claims(world: &World, token: &str) -> BTreeMap<String, Value> {
    verified(world, token).1.into_iter().collect()
}
