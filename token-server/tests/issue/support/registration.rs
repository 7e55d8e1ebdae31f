//! Clients that register themselves.

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Map, Value};
use token_issuer::{
    admin::GrantDraft,
    client::{AuthenticationMethod, GrantType},
    registration::{InitialAccessToken, InitialAccessTokens, RegistrationSettings, Template, TokenHash},
};

use super::{
    World,
    calls::{Answer, send},
    start,
};

/// Registers clients with any authentication method, for two audiences.
pub(crate) const INITIAL: &str = "an-initial-access-token-of-64-characters-or-so-0123456789abcdef";
/// Registers clients with a key only. It is valid for an hour.
pub(crate) const KEYS_ONLY: &str = "another-initial-access-token-0123456789abcdef-0123456789abcdef";

pub(crate) fn settings() -> RegistrationSettings {
    let grant = |audience: &str, scopes: &[&str], defaults: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        GrantDraft { audience: audience.to_owned(), scopes: owned(scopes), default_scopes: owned(defaults) }
    };
    let grants = vec![
        grant("inventory", &["inventory.read", "inventory.write"], &["inventory.read"]),
        grant("warehouse", &["warehouse.read"], &[]),
    ];
    let template = Template {
        grants,
        grant_types: GrantType::ALL.to_vec(),
        authentication_methods: AuthenticationMethod::ALL.to_vec(),
        credentials_max: 2,
        secret_lifetime: Some(Duration::from_secs(7200)),
        token_lifetime: Duration::from_secs(86_400),
        clients_max: 15,
    };
    let keys_only = Template {
        grant_types: vec![GrantType::ClientCredentials],
        authentication_methods: vec![AuthenticationMethod::PrivateKeyJwt],
        ..template.clone()
    };
    let token = |name: &str, token: &str, lifetime_seconds, template| InitialAccessToken {
        name: name.try_into().unwrap(),
        hash: TokenHash::of(token).unwrap(),
        expire_time: start() + Duration::from_secs(lifetime_seconds),
        template,
    };
    RegistrationSettings {
        tokens: InitialAccessTokens::new(vec![
            token("any", INITIAL, 1_000_000, template),
            token("keys-only", KEYS_ONLY, 3600, keys_only),
        ]),
        requests_per_minute_per_peer: 1000,
        clients_per_hour: 20,
    }
}

/// A request to the registration endpoint, or to one client's below it.
pub(crate) fn request(method: Method, path: &str, token: &str, body: &Value) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}

pub(crate) async fn register(world: &World, token: &str, body: &Value) -> Answer {
    send(world, request(Method::POST, "/oauth/register", token, body)).await
}

/// Registers with [`INITIAL`], and returns the response.
pub(crate) async fn registered(world: &World, body: &Value) -> Map<String, Value> {
    let answer = register(world, INITIAL, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

/// A request about a registration, with the token that its last answer had.
pub(crate) async fn manage(world: &World, method: Method, registration: &Map<String, Value>, body: &Value) -> Answer {
    let text = |name: &str| registration[name].as_str().unwrap();
    let path = text("registration_client_uri").strip_prefix(super::ISSUER).unwrap();
    send(world, request(method, path, text("registration_access_token"), body)).await
}
