//! Clients of Auth0, as `GET /api/v2/clients` and `GET /api/v2/client-grants` list them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    draft::{self, Draft, Names, PEOPLE},
    fields::Fields,
    other_form,
    report::Report,
};
use crate::command::failure::Failure;

/// Members that a machine does not need, and the reasons.
const REASONS: [(&[&str], &str); 5] = [
    (
        &[
            "callbacks",
            "allowed_clients",
            "allowed_logout_urls",
            "allowed_origins",
            "web_origins",
            "initiate_login_uri",
            "logo_uri",
            "sso",
            "sso_disabled",
            "cross_origin_*",
            "custom_login_page*",
            "form_template",
            "addons",
            "mobile",
            "refresh_token",
            "oidc_logout",
            "oidc_backchannel_logout",
            "native_social_login",
            "session_transfer",
            "organization_*",
            "default_organization",
            "skip_non_verifiable_callback_uri_confirmation_prompt",
            "is_first_party",
            "is_token_endpoint_ip_header_trusted",
            "oidc_conformant",
            "require_pushed_authorization_requests",
            "token_quota",
        ],
        PEOPLE,
    ),
    (
        &["tenant", "callback_url_template", "client_aliases", "encryption_key", "resource_server_identifier"],
        "It has a meaning inside Auth0 only.",
    ),
    (&["signing_keys"], "Every token is signed with the issuer's keys."),
    (&["jwt_configuration"], "It concerns ID tokens. Access tokens live for [tokens] default_lifetime."),
    (&["token_exchange"], "Exchanges are configured anew: docs/operations/token-exchange.md."),
];

pub(super) fn clients(
    input: Value,
    grants: Value,
    names: Names<'_>,
    report: &mut Report,
) -> Result<Vec<Draft>, Failure> {
    let clients = page(input, "clients").ok_or_else(|| other_form("Auth0's list of clients"))?;
    let mut granted: BTreeMap<String, Vec<Fields>> = BTreeMap::new();
    for mut grant in page(grants, "client_grants").ok_or_else(|| other_form("Auth0's list of client grants"))? {
        match grant.text("client_id") {
            Some(id) => granted.entry(id).or_default().push(grant),
            None => report.leave("a client grant without client_id", "the grant", "It belongs to no client."),
        }
    }
    report.step("Tokens name the client in client_id and sub. Auth0 wrote azp, and \"@clients\" after the ID in sub.");
    let mut drafts = Vec::new();
    for fields in clients {
        drafts.extend(client(fields, &mut granted, names, report));
    }
    for id in granted.into_keys() {
        report.leave(&id, "its client grants", "The list of clients does not have the client.");
    }
    Ok(drafts)
}

/// The list, which Auth0 may wrap into an object with totals.
fn page(input: Value, name: &str) -> Option<Vec<Fields>> {
    let list = if let Value::Object(mut members) = input { members.remove(name)? } else { input };
    match list {
        Value::Array(items) => items.into_iter().map(Fields::of).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => None,
    }
}

fn client(
    mut fields: Fields,
    granted: &mut BTreeMap<String, Vec<Fields>>,
    names: Names<'_>,
    report: &mut Report,
) -> Option<Draft> {
    let Some(id) = fields.text("client_id") else {
        report.leave("a client without client_id", "the client", "It has no ID.");
        return None;
    };
    let own = granted.remove(&id).unwrap_or_default();
    let (global, grant_types) = (fields.flag("global"), fields.texts("grant_types"));
    let reason = match () {
        () if global => Some("It is Auth0's own client of the tenant."),
        () if !grant_types.iter().any(|name| name == "client_credentials") => {
            Some("It does not use client_credentials: it signs in people.")
        }
        () => None,
    };
    if let Some(reason) = reason {
        report.leave(&id, "the client", reason);
        return None;
    }
    let mut draft = Draft::new(id.clone(), "auth0");
    for other in grant_types.iter().filter(|name| *name != "client_credentials") {
        report.leave(&id, &format!("grant type {other}"), PEOPLE);
    }
    draft.name(fields.text("name"), report);
    draft.label("description", "description", fields.text("description"), report);
    draft.label("app_type", "app-type", fields.text("app_type"), report);
    let mut metadata = fields.object("client_metadata");
    for name in metadata.names() {
        let value = metadata.text(&name);
        draft.label(&format!("client_metadata.{name}"), &name, value, report);
    }
    draft::leave(&id, metadata, "client_metadata.", &[], report);
    authentication(&mut draft, &mut fields, report);
    for grant in own {
        access(&mut draft, grant, names, report);
    }
    draft.settle(names, report);
    draft::leave(&id, fields, "", &REASONS, report);
    Some(draft)
}

fn authentication(draft: &mut Draft, fields: &mut Fields, report: &mut Report) {
    let id = draft.id().to_owned();
    let secret = fields.text("client_secret");
    let mut methods = fields.object("client_authentication_methods").names();
    // A value of another type may name a method all the same.
    methods.extend(fields.keyword("client_authentication_methods"));
    for method in &methods {
        let reason = "The list names keys and certificates only by ID. Register the key: `client add-key`.";
        report.leave(&id, &format!("client_authentication_methods.{method}"), reason);
    }
    let method = fields.keyword("token_endpoint_auth_method");
    let is_secret =
        methods.is_empty() && matches!(method.as_deref(), None | Some("client_secret_basic" | "client_secret_post"));
    match (secret, &method) {
        (Some(secret), _) if is_secret => draft.secret(secret),
        // Auth0 keeps the secret of a client that authenticates by another method, and does not accept it.
        (Some(_), _) => report.leave(&id, "client_secret", "The client authenticates by another method."),
        (None, _) if is_secret => {
            let reason =
                "The list has no secret. Read it with the scope read:client_keys, or give the client a new one.";
            report.leave(&id, "client_secret", reason);
        }
        (None, _) => {}
    }
    if let Some(method) = method.filter(|_| !is_secret) {
        let item = format!("token_endpoint_auth_method {method}");
        report.leave(&id, &item, "No client authenticates this way here. Give it a key or a secret.");
    }
}

/// One client grant: an audience with its scopes.
fn access(draft: &mut Draft, mut grant: Fields, names: Names<'_>, report: &mut Report) {
    let id = draft.id().to_owned();
    let Some(audience) = grant.text("audience") else {
        report.leave(&id, "a client grant", "It has no audience.");
        return;
    };
    let (scopes, subject) = (grant.texts("scope"), grant.text("subject_type"));
    let item = format!("client grant for {audience}");
    if is_management_api(&audience) {
        report.leave(&id, &item, "The audience is Auth0's own API.");
        return;
    }
    if subject.as_deref() == Some("user") {
        report.leave(&id, &item, PEOPLE);
        return;
    }
    if grant.flag("allow_all_scopes") {
        report.leave(&id, &item, "It allows every scope of the API. Name the scopes in the file.");
    }
    draft.audience(audience.clone());
    for scope in scopes {
        draft.scope(&scope, std::slice::from_ref(&audience), true, names);
    }
    let reasons: [(&[&str], &str); 2] = [
        (&["id", "is_system"], "Auth0's own bookkeeping."),
        (&["organization_usage", "allow_any_organization"], PEOPLE),
    ];
    draft::leave(&id, grant, &format!("{item}: "), &reasons, report);
}

fn is_management_api(audience: &str) -> bool {
    url::Url::parse(audience).is_ok_and(|url| {
        let is_of_auth0 = url.host_str().is_some_and(|host| host.ends_with(".auth0.com"));
        is_of_auth0 && url.path().starts_with("/api/v2")
    })
}
