//! Clients and credentials, for people and as JSON.

use std::time::SystemTime;

use serde_json::{Value, json};
use token_proto::admin::v1::{Client, Credential, Grant, credential::Kind};

use crate::command::{
    explain,
    failure::Failure,
    output::{Output, note},
};

/// A table of clients.
pub(super) fn clients(clients: &[Client], json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&clients.iter().map(as_json).collect::<Vec<_>>())?);
    }
    let rows: Vec<_> = clients
        .iter()
        .map(|client| {
            let state = if client.disabled { "disabled" } else { "active" };
            let grants = client.grants.iter().map(grant).collect::<Vec<_>>().join("; ");
            [client.client_id.clone(), state.to_owned(), grants, client.display_name.clone()]
        })
        .collect();
    output.table(["CLIENT", "STATE", "GRANTS", "NAME"], &rows)?;
    Ok(())
}

/// One client with everything about it.
pub(super) fn client(client: &Client, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        return Ok(output.json(&as_json(client))?);
    }
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
    output.pairs(&pairs)?;
    Ok(())
}

/// A new client and its secret.
pub(super) fn created(created: &Client, secret: &str, json: bool, output: &mut Output) -> Result<(), Failure> {
    if json {
        let mut value = as_json(created);
        if let Value::Object(members) = &mut value {
            members.insert("client_secret".to_owned(), secret.into());
        }
        return Ok(output.json(&value)?);
    }
    client(created, false, output)?;
    output.pairs(&[("Secret", secret)])?;
    note("The secret is shown this once: keep it now. `client add-secret` makes another.");
    Ok(())
}

/// A new secret.
pub(super) fn added(
    client_id: &str,
    added: &Credential,
    secret: &str,
    json: bool,
    output: &mut Output,
) -> Result<(), Failure> {
    if json {
        let mut value = credential_json(added);
        if let Value::Object(members) = &mut value {
            members.insert("client_id".to_owned(), client_id.into());
            members.insert("client_secret".to_owned(), secret.into());
        }
        return Ok(output.json(&value)?);
    }
    output.pairs(&[("Client", client_id), ("Credential", &credential(added)), ("Secret", secret)])?;
    note("The secret is shown this once: keep it now.");
    Ok(())
}

fn grant(grant: &Grant) -> String {
    format!("{}: {}", grant.audience, grant.scopes.join(" "))
}

fn credential(credential: &Credential) -> String {
    let kind = match &credential.kind {
        Some(Kind::Secret(secret)) => format!("secret {}…", secret.prefix),
        Some(Kind::PublicKey(_)) => "public key".to_owned(),
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
        "claims": sorted(&client.claims).collect::<serde_json::Map<_, _>>(),
        "redirect_uris": client.redirect_uris,
        "labels": sorted(&client.labels).collect::<serde_json::Map<_, _>>(),
        "etag": client.etag,
        "create_time": time_json(client.create_time),
        "update_time": time_json(client.update_time),
    })
}

fn credential_json(credential: &Credential) -> Value {
    let (kind, detail) = match &credential.kind {
        Some(Kind::Secret(secret)) => ("secret", json!({"prefix": secret.prefix})),
        Some(Kind::PublicKey(key)) => ("public_key", json!({"jwk": key.jwk})),
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

fn sorted(map: &std::collections::HashMap<String, String>) -> impl Iterator<Item = (String, Value)> {
    let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
    sorted.into_iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect::<Vec<_>>().into_iter()
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
