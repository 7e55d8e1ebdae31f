//! The response that describes a registration. RFC 7591 section 3.2.1, RFC 7592 section 3.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use token_interceptor::clock::numeric_date;

use crate::{
    admin::RegisteredClient,
    client::{AuthenticationMethod, Client, CredentialKind, GrantType, Scope, secret::ClientSecret},
};

/// A registration, with the secrets that its response shows. Only its JSON contains them.
pub struct ClientInformation {
    client: Client,
    secret: Option<ClientSecret>,
    token: String,
    endpoint: String,
}

impl ClientInformation {
    /// Creates the response after a change, with any secret that was generated.
    pub(super) fn changed(registered: RegisteredClient, endpoint: String) -> Self {
        let RegisteredClient { client, secret, token } = registered;
        Self { client, secret, token: token.expose().to_owned(), endpoint }
    }

    /// Creates the response for a read. It has no secret, because only the hash is stored. The token is the
    /// one that the caller presented.
    pub(super) fn read(client: Client, token: &str, endpoint: String) -> Self {
        Self { client, secret: None, token: token.to_owned(), endpoint }
    }

    /// The client information response.
    pub fn json(&self) -> Map<String, Value> {
        let Self { client, secret, token, endpoint } = self;
        let mut members = Map::new();
        let mut put = |name: &str, value: Value| drop(members.insert(name.to_owned(), value));
        put("client_id", client.id.as_str().into());
        put("client_id_issued_at", numeric_date(client.create_time).into());
        put("registration_access_token", token.as_str().into());
        let expires = client.registration.as_ref().and_then(|registration| registration.token_expire_time);
        if let Some(expires) = expires {
            // An extension: RFC 7592 has no name for it.
            put("registration_access_token_expires_at", numeric_date(expires).into());
        }
        put("registration_client_uri", format!("{endpoint}/{}", client.id).into());
        if let Some(secret) = secret {
            put("client_secret", secret.expose().into());
        }
        if let Some(expires_at) = secret_expires_at(client) {
            put("client_secret_expires_at", expires_at.into());
        }
        let scopes: BTreeSet<&str> = client.grants.iter().flat_map(|grant| &grant.scopes).map(Scope::as_str).collect();
        put("scope", scopes.into_iter().collect::<Vec<_>>().join(" ").into());
        put("grant_types", client.grant_types.iter().copied().map(GrantType::name).collect::<Vec<_>>().into());
        put("response_types", Value::Array(Vec::new()));
        put("redirect_uris", client.redirect_uris.clone().into());
        if !client.display_name.is_empty() {
            put("client_name", client.display_name.as_str().into());
        }
        if let Some(jwks_uri) = &client.jwks_uri {
            put("jwks_uri", jwks_uri.as_str().into());
        }
        if let Some(keys) = keys(client) {
            put("jwks", serde_json::json!({ "keys": keys }));
        }
        if let Some(registration) = &client.registration {
            let details = &registration.details;
            put("token_endpoint_auth_method", details.authentication_method.name().into());
            let said = [
                ("client_uri", &details.client_uri),
                ("software_id", &details.software_id),
                ("software_version", &details.software_version),
            ];
            for (name, value) in said {
                if let Some(value) = value {
                    put(name, value.as_str().into());
                }
            }
        }
        members
    }
}

/// Returns the expiry of the secret that lasts longest; 0 if it never expires. `None` for a client without
/// secrets.
fn secret_expires_at(client: &Client) -> Option<u64> {
    let method = client.registration.as_ref().map(|registration| registration.details.authentication_method);
    if method == Some(AuthenticationMethod::PrivateKeyJwt) {
        return None;
    }
    let secrets = client.credentials.iter().filter(|credential| matches!(credential.kind, CredentialKind::Secret(_)));
    let expiries = secrets.map(|secret| secret.expire_time.map(numeric_date));
    expiries.reduce(|left, right| Some(left?.max(right?))).map(Option::unwrap_or_default)
}

fn keys(client: &Client) -> Option<Vec<Value>> {
    let key = |kind: &CredentialKind| match kind {
        CredentialKind::PublicKey(jwk) => serde_json::from_str(jwk.as_json()).ok(),
        CredentialKind::Secret(_) | CredentialKind::FederatedIdentity(_) => None,
    };
    let keys: Vec<Value> = client.credentials.iter().filter_map(|credential| key(&credential.kind)).collect();
    (!keys.is_empty()).then_some(keys)
}
