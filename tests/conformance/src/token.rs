//! The keys and tokens of the cases. They are generated in each run, so that no private key is in the
//! repository.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

use crate::{
    case::{Issuer, Token},
    signature::Key,
};

/// The issuer of the default token.
pub(crate) const ISSUER: &str = "https://issuer.example";
/// The time of every server case: 2026-06-01T00:00:00Z.
pub(crate) const NOW: i64 = 1_780_272_000;

pub(crate) type Keys = BTreeMap<String, Key>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Generates the named keys.
pub(crate) fn keys(algorithms: &BTreeMap<String, String>) -> Result<Keys> {
    algorithms.iter().map(|(name, algorithm)| Ok((name.clone(), Key::generate(algorithm)?))).collect()
}

/// Returns the issuer's key set as it is served.
pub(crate) fn key_set(issuer: &Issuer, keys: &Keys) -> Result<Vec<u8>> {
    if let Some(text) = &issuer.jwks_text {
        return Ok(text.clone().into_bytes());
    }
    let mut set = issuer.jwks.clone().unwrap_or_default();
    for jwk in set.get_mut("keys").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(members) = jwk.as_object_mut() else { continue };
        let Some(name) = members.remove("$key") else { continue };
        let key = named(keys, name.as_str().unwrap_or_default())?;
        let mut public = key.jwk()?;
        merge(&mut public, std::mem::take(members));
        *members = public;
    }
    Ok(set.to_string().into_bytes())
}

/// Signs the default token with the case's changes.
pub(crate) fn sign(token: &Token, keys: &Keys) -> Result<String> {
    let name = token.key.as_deref().unwrap_or("a");
    let key = named(keys, name)?;
    let mut header = members(json!({
        "typ": "at+jwt", "alg": key.algorithm().name(), "kid": key.jwk()?.remove("kid"),
    }));
    let mut claims = members(json!({
        "iss": ISSUER, "sub": "orders", "client_id": "orders", "aud": "catalog", "jti": "token-1",
        "iat": NOW - 60, "exp": NOW + 240, "scope": "catalog.read",
    }));
    merge(&mut header, token.header.clone());
    merge(&mut claims, token.claims.clone());
    let encode = |members: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(members).to_string());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = key.sign(signed.as_bytes(), token.signature)?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn named<'a>(keys: &'a Keys, name: &str) -> Result<&'a Key> {
    keys.get(name).ok_or_else(|| format!("the case has no key {name:?}").into())
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    }
}

/// Sets the members of `changes`, and removes those that are `null`.
fn merge(into: &mut Map<String, Value>, changes: Map<String, Value>) {
    for (name, value) in changes {
        if value.is_null() {
            into.remove(&name);
        } else {
            into.insert(name, value);
        }
    }
}
