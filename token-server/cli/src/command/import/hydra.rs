//! Clients of Ory Hydra, as `GET /admin/clients` lists them.

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
            "redirect_uris",
            "response_types",
            "post_logout_redirect_uris",
            "allowed_cors_origins",
            "policy_uri",
            "tos_uri",
            "client_uri",
            "logo_uri",
            "contacts",
            "subject_type",
            "sector_identifier_uri",
            "skip_consent",
            "skip_logout_consent",
            "userinfo_signed_response_alg",
            "request_object_signing_alg",
            "request_uris",
            "frontchannel_*",
            "backchannel_*",
            "authorization_code_grant_*",
            "implicit_grant_*",
            "refresh_token_grant_*",
            "device_authorization_grant_*",
        ],
        PEOPLE,
    ),
    (&["created_at", "updated_at", "client_secret_expires_at"], "Hydra's own bookkeeping."),
    (
        &["registration_access_token", "registration_client_uri"],
        "The client registers here anew if it manages itself: docs/operations/registration.md.",
    ),
    (&["access_token_strategy"], "Every access token is a JWT (RFC 9068)."),
    (&["owner", "metadata"], "Labels hold text. Add the members that you need as labels."),
];

pub(super) fn clients(input: Value, names: Names<'_>, report: &mut Report) -> Result<Vec<Draft>, Failure> {
    let Value::Array(items) = input else { return Err(other_form("a JSON list of Hydra's clients")) };
    let clients: Option<Vec<_>> = items.into_iter().map(Fields::of).collect();
    let clients = clients.ok_or_else(|| other_form("a JSON list of Hydra's clients"))?;
    report.step("Tokens name the client in client_id and sub. Their lifetime is [tokens] default_lifetime.");
    Ok(clients.into_iter().filter_map(|fields| client(fields, names, report)).collect())
}

fn client(mut fields: Fields, names: Names<'_>, report: &mut Report) -> Option<Draft> {
    let Some(id) = fields.text("client_id") else {
        report.leave("a client without client_id", "the client", "It has no ID.");
        return None;
    };
    let grant_types = fields.texts("grant_types");
    if !grant_types.iter().any(|name| name == "client_credentials") {
        report.leave(&id, "the client", "It does not use client_credentials: it signs in people.");
        return None;
    }
    let mut draft = Draft::new(id.clone(), "hydra");
    for other in grant_types.iter().filter(|name| *name != "client_credentials") {
        report.leave(&id, &format!("grant type {other}"), PEOPLE);
    }
    draft.name(fields.text("client_name"), report);
    authentication(&mut draft, &mut fields, report);
    access(&mut draft, &mut fields, names, report);
    if let Some(text) = fields.text("client_credentials_grant_access_token_lifespan") {
        match humantime::parse_duration(&text) {
            Ok(lifetime) => draft.lifetime("client_credentials_grant_access_token_lifespan", lifetime, report),
            Err(_) => report.leave(&id, "client_credentials_grant_access_token_lifespan", "It is not a duration."),
        }
    }
    draft::leave(&id, fields, "", &REASONS, report);
    Some(draft)
}

fn authentication(draft: &mut Draft, fields: &mut Fields, report: &mut Report) {
    let id = draft.id().to_owned();
    let algorithm = fields.text("token_endpoint_auth_signing_alg");
    let secret = fields.text("client_secret");
    let (jwks, jwks_uri) = (fields.json("jwks"), fields.text("jwks_uri"));
    match fields.keyword("token_endpoint_auth_method").as_deref() {
        Some("private_key_jwt") => {
            draft.jwks_uri("jwks_uri", jwks_uri, report);
            if let Some(jwks) = jwks {
                draft.keys("jwks", &jwks, algorithm.as_deref(), report);
            }
            if secret.is_some() {
                report.leave(&id, "client_secret", "The client authenticates with a key.");
            }
        }
        // Hydra's default is client_secret_basic.
        None | Some("client_secret_basic" | "client_secret_post") => {
            match secret {
                Some(secret) => draft.expiring_secret(secret, fields, "client_secret_expires_at", report),
                None => report.leave(
                    &id,
                    "client_secret",
                    "Hydra's API does not return secrets. Add it to the client's JSON if you have it: docs/operations/moving-in.md.",
                ),
            }
            for (name, there) in [("jwks", jwks.is_some()), ("jwks_uri", jwks_uri.is_some())] {
                if there {
                    report.leave(&id, name, "The client authenticates with a secret.");
                }
            }
        }
        Some(other) => {
            let method = format!("token_endpoint_auth_method {other}");
            report.leave(&id, &method, "No client authenticates this way here. Give it a key or a secret.");
            let left =
                [("client_secret", secret.is_some()), ("jwks", jwks.is_some()), ("jwks_uri", jwks_uri.is_some())];
            for (name, _) in left.into_iter().filter(|(_, there)| *there) {
                report.leave(&id, name, "The client authenticates by another method.");
            }
        }
    }
}

/// Hydra allows every scope at every audience.
fn access(draft: &mut Draft, fields: &mut Fields, names: Names<'_>, report: &mut Report) {
    let audiences = fields.texts("audience");
    for audience in &audiences {
        draft.audience(audience.clone());
    }
    let scopes = fields.text("scope").unwrap_or_default();
    for scope in scopes.split_whitespace() {
        if ["openid", "offline", "offline_access"].contains(&scope) {
            report.leave(draft.id(), &format!("scope {scope}"), PEOPLE);
        } else if !draft.scope(scope, &audiences, true, names) {
            let reason = "The client has no audience, and a token needs one. Name it with --audience.";
            report.leave(draft.id(), &format!("scope {scope}"), reason);
        }
    }
    draft.settle(names, report);
}
