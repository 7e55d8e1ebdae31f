//! Client metadata, as a client sends them. RFC 7591 section 2.
//!
//! Unknown members are ignored, as section 2 says. Known members of a wrong type are rejected.

use secrecy::SecretString;
use serde_json::{Map, Value};
use token_interceptor::http_url::is_loopback;

use super::RegistrationError;
use crate::client::{AuthenticationMethod, GrantType, PublicKeyJwk, is_printable};

/// The longest text that decides nothing and is only returned, in characters.
const TEXT_CHARS_MAX: usize = 256;
/// Members that only the server sets. RFC 7592 section 2.2.
const SERVERS_OWN: [&str; 4] =
    ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"];

/// The client metadata that a registration requests. They are parsed, but not yet checked or allowed.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) client_name: Option<String>,
    pub(super) authentication_method: AuthenticationMethod,
    pub(super) grant_types: Vec<GrantType>,
    /// `None` if the client leaves them to the server.
    pub(super) scopes: Option<Vec<String>>,
    /// The public keys, each as JSON.
    pub(super) keys: Vec<String>,
    pub(super) jwks_uri: Option<String>,
    pub(super) redirect_uris: Vec<String>,
    pub(super) client_uri: Option<String>,
    pub(super) software_id: Option<String>,
    pub(super) software_version: Option<String>,
    /// In an update: the client's claimed secret.
    pub(super) client_secret: Option<SecretString>,
}

impl Wanted {
    /// Reads the body of a registration. RFC 7591 section 3.1.
    pub(super) fn parse(members: &Map<String, Value>) -> Result<Self, RegistrationError> {
        if members.contains_key("software_statement") {
            return Err(RegistrationError::Metadata {
                code: "unapproved_software_statement",
                description: "No software statement is accepted here; register without one.".to_owned(),
            });
        }
        expect_no_authorization_endpoint(members)?;
        Ok(Self {
            client_name: text(members, "client_name")?,
            authentication_method: authentication_method(members)?,
            grant_types: grant_types(members)?,
            scopes: text(members, "scope")?.map(|scope| scope.split(' ').map(str::to_owned).collect()),
            keys: keys(members)?,
            jwks_uri: text(members, "jwks_uri")?,
            redirect_uris: redirect_uris(members)?,
            client_uri: web_page(members, "client_uri")?,
            software_id: short_text(members, "software_id")?,
            software_version: short_text(members, "software_version")?,
            client_secret: None,
        })
    }

    /// Reads the body of a change to the client of that ID. RFC 7592 section 2.2.
    pub(super) fn parse_update(members: &Map<String, Value>, id: &str) -> Result<Self, RegistrationError> {
        if text(members, "client_id")?.as_deref() != Some(id) {
            return Err(RegistrationError::metadata("client_id: it must be present, and equal the client's ID"));
        }
        if let Some(name) = SERVERS_OWN.into_iter().find(|name| members.contains_key(*name)) {
            return Err(RegistrationError::metadata(format!("{name}: only the server sets it")));
        }
        let client_secret = text(members, "client_secret")?.map(SecretString::from);
        Ok(Self { client_secret, ..Self::parse(members)? })
    }
}

/// Returns the authentication method. The default is that of RFC 7591 section 2.
fn authentication_method(members: &Map<String, Value>) -> Result<AuthenticationMethod, RegistrationError> {
    let Some(name) = text(members, "token_endpoint_auth_method")? else {
        return Ok(AuthenticationMethod::ClientSecretBasic);
    };
    AuthenticationMethod::from_name(&name).ok_or_else(|| {
        let known = AuthenticationMethod::ALL.map(AuthenticationMethod::name).join(", ");
        RegistrationError::metadata(format!("token_endpoint_auth_method: it must be one of {known}"))
    })
}

/// Returns the grant types. The default is the usual grant here, because `authorization_code`, the default of
/// RFC 7591, is not offered.
fn grant_types(members: &Map<String, Value>) -> Result<Vec<GrantType>, RegistrationError> {
    let names = texts(members, "grant_types")?;
    if names.is_empty() {
        return Ok(vec![GrantType::ClientCredentials]);
    }
    let read = |name: &String| {
        GrantType::from_name(name).ok_or_else(|| {
            let known = GrantType::ALL.map(GrantType::name).join(", ");
            RegistrationError::metadata(format!("grant_types: only {known} are offered"))
        })
    };
    names.iter().map(read).collect()
}

fn expect_no_authorization_endpoint(members: &Map<String, Value>) -> Result<(), RegistrationError> {
    if texts(members, "response_types")?.is_empty() {
        return Ok(());
    }
    Err(RegistrationError::metadata("response_types: there is no authorization endpoint, so there are none"))
}

/// RFC 7591 section 2: `jwks` and `jwks_uri` never together. Keys that cannot be distinguished are rejected
/// now, not when the client first authenticates.
fn keys(members: &Map<String, Value>) -> Result<Vec<String>, RegistrationError> {
    let bad = |rule: &str| RegistrationError::metadata(format!("jwks: {rule}"));
    let Some(jwks) = members.get("jwks") else { return Ok(Vec::new()) };
    if members.contains_key("jwks_uri") {
        return Err(bad("it cannot be combined with jwks_uri"));
    }
    let keys = jwks.get("keys").and_then(Value::as_array).filter(|keys| !keys.is_empty());
    let keys = keys.ok_or_else(|| bad("it must be a JWK Set with at least one key"))?;
    let mut names = std::collections::BTreeSet::new();
    for key in keys {
        let known = PublicKeyJwk::register(&key.to_string()).map_err(|error| bad(&error.to_string()))?;
        let name = known.key().key_id().map(str::to_owned);
        if keys.len() > 1 && name.is_none_or(|name| !names.insert(name)) {
            return Err(bad("each of several keys must have a kid of its own"));
        }
    }
    Ok(keys.iter().map(ToString::to_string).collect())
}

/// Reads the redirect URIs. RFC 7591 section 5: over TLS, to the same machine, or to an application by its
/// own scheme.
fn redirect_uris(members: &Map<String, Value>) -> Result<Vec<String>, RegistrationError> {
    let uris = texts(members, "redirect_uris")?;
    let loopback = |uri: &url::Url| uri.host_str().is_some_and(is_loopback);
    let plaintext = |uri: &&String| url::Url::parse(uri).is_ok_and(|uri| uri.scheme() == "http" && !loopback(&uri));
    if uris.iter().any(|uri| plaintext(&uri)) {
        return Err(RegistrationError::Metadata {
            code: "invalid_redirect_uri",
            description: "redirect_uris: http is allowed for loopback only".to_owned(),
        });
    }
    Ok(uris)
}

fn web_page(members: &Map<String, Value>, name: &str) -> Result<Option<String>, RegistrationError> {
    let page = text(members, name)?;
    let kept = page.as_ref().is_none_or(|page| {
        page.len() <= 2048 && url::Url::parse(page).is_ok_and(|url| matches!(url.scheme(), "https" | "http"))
    });
    if kept { Ok(page) } else { Err(RegistrationError::metadata(format!("{name}: it must be the URL of a web page"))) }
}

fn short_text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, RegistrationError> {
    let text = text(members, name)?;
    let kept = text.as_ref().is_none_or(|text| text.len() <= TEXT_CHARS_MAX && is_printable(text));
    if kept {
        Ok(text)
    } else {
        let rule = format!("{name}: at most {TEXT_CHARS_MAX} bytes, none of them a control character");
        Err(RegistrationError::metadata(rule))
    }
}

/// Reads a text. RFC 7591 section 2: a member without a value counts as absent.
fn text(members: &Map<String, Value>, name: &str) -> Result<Option<String>, RegistrationError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(RegistrationError::metadata(format!("{name}: it must be a string")))
        }
    }
}

fn texts(members: &Map<String, Value>, name: &str) -> Result<Vec<String>, RegistrationError> {
    let bad = || RegistrationError::metadata(format!("{name}: it must be a list of strings"));
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(bad)).collect()
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => Err(bad()),
    }
}
