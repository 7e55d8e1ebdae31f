//! Clients and credentials, for people and as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};
use token_proto::admin::v1::{
    Client, Credential, FederatedIdentity, Grant, credential::Kind, federated_identity::Accepts,
};

use super::list::Usage;
use crate::command::{
    explain,
    failure::Failure,
    output::{Output, note},
};

/// A table of clients.
pub(super) fn clients(clients: &[Client], now: SystemTime, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&clients.iter().map(as_json).collect::<Vec<_>>())?);
    }
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            let Usage { expires, used, .. } = Usage::of(client, now);
            let state = if client.disabled { "disabled" } else { "active" };
            let expires = expires.map_or_else(String::new, |time| explain::distance(time, now));
            // The use of keys from a jwks_uri is not recorded.
            let unrecorded = if client.jwks_uri.is_empty() { "never" } else { "" };
            let used = used.map_or_else(|| unrecorded.to_owned(), |time| explain::distance(time, now));
            let grants = client.grants.iter().map(grant).collect::<Vec<_>>().join("; ");
            [client.client_id.clone(), state.to_owned(), expires, used, grants, client.display_name.clone()]
        })
        .collect();
    output.table_to_fit(["CLIENT", "STATE", "EXPIRES", "LAST USED", "GRANTS", "NAME"], &rows, &[4, 5])?;
    Ok(())
}

/// Shows one client in full.
pub(super) fn client(client: &Client, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&as_json(client))?);
    }
    output.pairs(&in_words(client))?;
    Ok(())
}

/// A new client and its secret.
pub(super) fn created(created: &Client, secret: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&with_secret(as_json(created), &created.client_id, secret))?);
    }
    let mut pairs = in_words(created);
    if secret.is_empty() {
        return Ok(output.pairs(&pairs)?);
    }
    pairs.push(("Secret", secret.to_owned()));
    output.pairs(&pairs)?;
    note("The secret is shown only once: store it now. `client add-secret` generates another.");
    Ok(())
}

fn in_words(client: &Client) -> Vec<(&'static str, String)> {
    let mut pairs = vec![("Client", client.client_id.clone())];
    let mut add = |name, value: String| {
        if !value.is_empty() {
            pairs.push((name, value));
        }
    };
    add("Name", client.display_name.clone());
    add("State", (if client.disabled { "disabled: it gets no token" } else { "active" }).to_owned());
    for granted in &client.grants {
        add("Grant", grant(granted));
        let default = granted.default_scopes.join(" ");
        add("", if default.is_empty() { String::new() } else { format!("without a scope named: {default}") });
    }
    add("Grant types", client.grant_types.join(" "));
    add("Keys from", client.jwks_uri.clone());
    let older = client.accept_token_endpoint_audience;
    add("Assertions for", (if older { "the issuer, or its token endpoint" } else { "" }).to_owned());
    add("Exchanges tokens for", client.subject_audiences.join(" "));
    add("Impersonation", (if client.may_impersonate { "allowed" } else { "" }).to_owned());
    let lifetime = client.token_lifetime.and_then(|lifetime| std::time::Duration::try_from(lifetime).ok());
    add(
        "Token lifetime",
        lifetime.map(|lifetime| humantime::format_duration(lifetime).to_string()).unwrap_or_default(),
    );
    for (name, value) in sorted(&client.claims) {
        add("Claim", format!("{name} = {value}"));
    }
    for uri in &client.redirect_uris {
        add("Redirect URI", uri.clone());
    }
    for (name, value) in sorted(&client.labels) {
        add("Label", format!("{name} = {value}"));
    }
    for each in &client.credentials {
        add("Credential", credential(each));
    }
    add("Created", time(client.create_time));
    add("Updated", time(client.update_time));
    pairs
}

/// A new secret or key.
pub(super) fn added(
    client_id: &str,
    added: &Credential,
    secret: &str,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&with_secret(credential_json(added), client_id, secret))?);
    }
    output.pairs(&[("Client", client_id), ("Credential", &credential(added))])?;
    if !secret.is_empty() {
        output.pairs(&[("Secret    ", secret)])?;
        note("The secret is shown only once: store it now.");
    }
    Ok(())
}

fn with_secret(mut value: Value, client_id: &str, secret: &str) -> Value {
    if let (Value::Object(members), false) = (&mut value, secret.is_empty()) {
        members.insert("client_id".to_owned(), client_id.into());
        members.insert("client_secret".to_owned(), secret.into());
    }
    value
}

fn grant(grant: &Grant) -> String {
    format!("{}: {}", grant.audience, grant.scopes.join(" "))
}

fn credential(credential: &Credential) -> String {
    let kind = match &credential.kind {
        Some(Kind::Secret(secret)) if secret.imported => "imported secret".to_owned(),
        Some(Kind::Secret(secret)) => format!("secret {}…", secret.prefix),
        Some(Kind::PublicKey(_)) => "public key".to_owned(),
        Some(Kind::FederatedIdentity(identity)) => identity_in_words(identity),
        None => "of an unknown kind".to_owned(),
    };
    let expires =
        credential.expire_time.map_or_else(String::new, |time| format!(", expires {}", self::time(Some(time))));
    let used = match credential.last_used_time {
        Some(used) => format!("last used {}", time(Some(used))),
        None => "never used".to_owned(),
    };
    format!("{}  {kind}{expires}, {used}", credential.credential_id)
}

fn identity_in_words(identity: &FederatedIdentity) -> String {
    let FederatedIdentity { issuer, accepts, claims, max_age, reuse } = identity;
    let subject = match accepts {
        Some(Accepts::Subject(subject)) => subject.clone(),
        Some(Accepts::SubjectPrefix(prefix)) => format!("{prefix}*"),
        None => String::new(),
    };
    let mut words = format!("identity {subject} of {issuer}");
    let claims: std::collections::BTreeMap<_, _> = claims.iter().collect();
    for (pointer, allowed) in claims {
        words += &format!(", {pointer} = {}", allowed.values.join(" or "));
    }
    if let Some(age) = max_age.and_then(|age| std::time::Duration::try_from(age).ok()) {
        words += &format!(", at most {} old", humantime::format_duration(age));
    }
    words += if *reuse { ", each token until it expires" } else { ", each token once" };
    words
}

fn identity_json(identity: &FederatedIdentity) -> Value {
    let FederatedIdentity { issuer, accepts, claims, max_age, reuse } = identity;
    let (name, subject) = match accepts {
        Some(Accepts::SubjectPrefix(prefix)) => ("subject_prefix", prefix.as_str()),
        Some(Accepts::Subject(subject)) => ("subject", subject.as_str()),
        None => ("subject", ""),
    };
    let claims: std::collections::BTreeMap<_, _> =
        claims.iter().map(|(pointer, allowed)| (pointer, &allowed.values)).collect();
    json!({
        "issuer": issuer,
        name: subject,
        "claims": claims,
        "max_age_seconds": max_age.map(|age| age.seconds),
        "reuse": reuse,
    })
}

fn as_json(client: &Client) -> Value {
    let grants: Vec<_> = client
        .grants
        .iter()
        .map(
            |grant| json!({"audience": grant.audience, "scopes": grant.scopes, "default_scopes": grant.default_scopes}),
        )
        .collect();
    json!({
        "client_id": client.client_id,
        "display_name": client.display_name,
        "disabled": client.disabled,
        "grants": grants,
        "credentials": client.credentials.iter().map(credential_json).collect::<Vec<_>>(),
        "token_lifetime_seconds": client.token_lifetime.map(|lifetime| lifetime.seconds),
        "grant_types": client.grant_types,
        "jwks_uri": client.jwks_uri,
        "may_impersonate": client.may_impersonate,
        "subject_audiences": client.subject_audiences,
        "claims": sorted(&client.claims),
        "redirect_uris": client.redirect_uris,
        "labels": sorted(&client.labels),
        "etag": client.etag,
        "create_time": time_json(client.create_time),
        "update_time": time_json(client.update_time),
    })
}

fn credential_json(credential: &Credential) -> Value {
    let (kind, detail) = match &credential.kind {
        Some(Kind::Secret(secret)) => ("secret", json!({"prefix": secret.prefix, "imported": secret.imported})),
        Some(Kind::PublicKey(key)) => ("public_key", json!({"jwk": key.jwk})),
        Some(Kind::FederatedIdentity(identity)) => ("federated_identity", identity_json(identity)),
        None => ("unknown", Value::Null),
    };
    json!({
        "credential_id": credential.credential_id,
        kind: detail,
        "create_time": time_json(credential.create_time),
        "expire_time": time_json(credential.expire_time),
        "last_used_time": time_json(credential.last_used_time),
    })
}

fn sorted(map: &std::collections::HashMap<String, String>) -> std::collections::BTreeMap<&str, &str> {
    map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn system_time(time: Option<prost_types::Timestamp>) -> Option<SystemTime> {
    SystemTime::try_from(time?).ok()
}

fn time(time: Option<prost_types::Timestamp>) -> String {
    system_time(time).map_or_else(String::new, explain::absolute)
}

fn time_json(time: Option<prost_types::Timestamp>) -> Value {
    system_time(time).map_or(Value::Null, |time| explain::absolute(time).into())
}
