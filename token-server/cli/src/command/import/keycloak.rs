//! Clients of a Keycloak realm export.
//!
//! A client's audiences come from the audience mappers of its client scopes and of the client itself. Roles
//! that its service account has at another client become scopes at that client's audience.

mod access;
mod realm;

use std::time::Duration;

use serde_json::Value;

use self::realm::{OWN_CLIENTS, Realm};
use super::{
    draft::{self, Draft, Names, PEOPLE},
    fields::Fields,
    other_form,
    report::Report,
};
use crate::command::failure::Failure;

const INSIDE: &str = "It has a meaning inside Keycloak only.";
const BOUND: &str = "It binds tokens to their sender. Configure that here anew.";

/// Members of a client that a machine does not need, and the reasons.
const REASONS: [(&[&str], &str); 2] = [
    (
        &[
            "redirectUris",
            "webOrigins",
            "rootUrl",
            "baseUrl",
            "adminUrl",
            "consentRequired",
            "standardFlowEnabled",
            "implicitFlowEnabled",
            "directAccessGrantsEnabled",
            "frontchannelLogout",
            "alwaysDisplayInConsole",
        ],
        PEOPLE,
    ),
    (
        &[
            "id",
            "surrogateAuthRequired",
            "nodeReRegistrationTimeout",
            "registeredNodes",
            "registrationAccessToken",
            "fullScopeAllowed",
            "origin",
            "authenticationFlowBindingOverrides",
            "authorizationServicesEnabled",
            "access",
        ],
        INSIDE,
    ),
];

/// The same for the attributes of a client.
const ATTRIBUTES: [(&[&str], &str); 4] = [
    (
        &[
            "post.logout.redirect.uris",
            "backchannel.logout.*",
            "frontchannel.logout.*",
            "oauth2.device.*",
            "oidc.ciba.*",
            "display.on.consent.screen",
            "consent.screen.text",
            "login_theme",
            "pkce.*",
            "acr.*",
            "id.token.*",
            "user.info.*",
            "client.session.*",
            "client.offline.session.*",
            "use.refresh.tokens",
            "require.pushed.*",
            "client_credentials.use_refresh_token",
            "logoUri",
            "policyUri",
            "tosUri",
            "request.object.*",
            "request.uris",
            "authorization.*",
            "default.acr.values",
            "exclude.session.state.from.auth.response",
        ],
        PEOPLE,
    ),
    (
        &[
            "client.secret.creation.time",
            // Of a client without a secret in the file: the time belongs to the secret.
            "client.secret.expiration.time",
            "realm_client",
            "client.use.lightweight.access.token.enabled",
            "jwt.credential.*",
            "client.introspection.response.*",
            "access.token.header.type.rfc9068",
            "backchannel.*",
        ],
        INSIDE,
    ),
    (&["dpop.*", "tls.client.certificate.bound.access.tokens", "x509.*"], BOUND),
    (&["access.token.signed.response.alg"], "The algorithms of the issuer's keys decide: [keys] algorithms."),
];

pub(super) fn clients(input: Value, names: Names<'_>, report: &mut Report) -> Result<Vec<Draft>, Failure> {
    let form = || other_form("a realm export of Keycloak, made with `kc.sh export --users same_file`");
    let mut fields = Fields::of(input).ok_or_else(form)?;
    let (name, clients) = (fields.text("realm").ok_or_else(form)?, fields.objects("clients"));
    let realm = Realm::read(&name, &mut fields, report);
    let reason = "The import reads clients, and what their tokens contain. Nothing else of the realm is carried over.";
    report.leave_all(&format!("realm {name}"), &fields.left(""), reason);
    report.step(
        "Tokens name the client in client_id and sub. Keycloak wrote azp, and the user ID of the service account in sub.",
    );
    Ok(clients.into_iter().filter_map(|client| self::client(client, &realm, names, report)).collect())
}

fn client(mut fields: Fields, realm: &Realm, names: Names<'_>, report: &mut Report) -> Option<Draft> {
    let Some(id) = fields.text("clientId") else {
        report.leave("a client without clientId", "the client", "It has no ID.");
        return None;
    };
    if let Some(reason) = not_a_machine(&id, &mut fields) {
        report.leave(&id, "the client", reason);
        return None;
    }
    let mut draft = Draft::new(id.clone(), &format!("keycloak/{}", realm.name));
    draft.name(fields.text("name"), report);
    draft.label("description", "description", fields.text("description"), report);
    if !fields.flag("enabled") {
        draft.disable();
    }
    if realm.has_disabled_account(&id) {
        draft.disable();
        report.step(format!("{id}: it is disabled, as its service account is in Keycloak."));
    }
    let mut attributes = fields.object("attributes");
    authentication(&mut draft, &mut fields, &mut attributes, report);
    if let Some(seconds) = attributes.number("access.token.lifespan").filter(|seconds| *seconds > 0) {
        draft.lifetime("attributes.access.token.lifespan", Duration::from_secs(seconds), report);
    }
    if attributes.flag("standard.token.exchange.enabled") {
        draft.exchanges();
        report.step(format!("{id}: it exchanges tokens that name it as audience. Others need subject_audiences."));
    }
    access::grant(&mut draft, &mut fields, realm, names, report);
    for name in attributes.names().into_iter().filter(|name| name.starts_with("client.secret.rotated")) {
        let previous = attributes.json(&name).is_some();
        if previous {
            report.leave(&id, &format!("attributes.{name}"), "Only the current secret is imported.");
        }
    }
    draft::leave(&id, attributes, "attributes.", &ATTRIBUTES, report);
    draft::leave(&id, fields, "", &REASONS, report);
    Some(draft)
}

/// Returns the reason why a client gets no tokens of its own.
fn not_a_machine(id: &str, fields: &mut Fields) -> Option<&'static str> {
    let protocol = fields.text("protocol");
    let (bearer, public) = (fields.flag("bearerOnly"), fields.flag("publicClient"));
    let has_account = fields.flag("serviceAccountsEnabled");
    match protocol.as_deref() {
        _ if OWN_CLIENTS.contains(&id) => Some("It is Keycloak's own client."),
        Some("openid-connect") | None if bearer => {
            Some("It only receives tokens. An audience needs no registration: its name is in the grants.")
        }
        Some("openid-connect") | None if public => Some("It is public: it signs in people."),
        Some("openid-connect") | None if !has_account => Some("It has no service account: it signs in people."),
        Some("openid-connect") | None => None,
        Some(_) => Some("It does not use OpenID Connect."),
    }
}

fn authentication(draft: &mut Draft, fields: &mut Fields, attributes: &mut Fields, report: &mut Report) {
    let id = draft.id().to_owned();
    let method = fields.keyword("clientAuthenticatorType");
    let secret = fields.text("secret");
    match method.as_deref() {
        None | Some("client-secret") => match secret {
            Some(masked) if masked.bytes().all(|byte| byte == b'*') => {
                report.leave(&id, "secret", "The export masks it. Export with `kc.sh export`, not from the console.");
            }
            Some(vault) if vault.starts_with("${vault.") => {
                report.leave(
                    &id,
                    "secret",
                    "It is in Keycloak's vault. Put it into the export in place of the reference.",
                );
            }
            Some(secret) => draft.expiring_secret(secret, attributes, "client.secret.expiration.time", report),
            None => report.leave(&id, "secret", "The export has none."),
        },
        Some("client-jwt") => {
            if secret.is_some() {
                report.leave(&id, "secret", "The client authenticates with a key.");
            }
            keys(draft, attributes, report);
        }
        Some(other) => {
            let item = format!("clientAuthenticatorType {other}");
            report.leave(&id, &item, "No client authenticates this way here yet. Give it a key or a secret.");
            if secret.is_some() {
                report.leave(&id, "secret", "The client authenticates by another method.");
            }
        }
    }
}

/// The public keys of `private_key_jwt`. Keycloak keeps a certificate or a key without the lines of PEM.
fn keys(draft: &mut Draft, attributes: &mut Fields, report: &mut Report) {
    let algorithm = attributes.text("token.endpoint.auth.signing.alg");
    let algorithm = algorithm.as_deref();
    let (use_url, url) = (attributes.flag("use.jwks.url"), attributes.text("jwks.url"));
    let (use_text, text) = (attributes.flag("use.jwks.string"), attributes.text("jwks.string"));
    let forms = [("certificate", "CERTIFICATE"), ("public.key", "PUBLIC KEY")];
    let held = forms.map(|(name, kind)| (attributes.text(&format!("jwt.credential.{name}")), name, kind));
    if use_url {
        draft.jwks_uri("attributes.jwks.url", url, report);
    } else if let (true, Some(text)) = (use_text, text) {
        draft.keys("attributes.jwks.string", &text, algorithm, report);
    } else {
        for (base64, name, kind) in held {
            let Some(base64) = base64 else { continue };
            let pem = format!("-----BEGIN {kind}-----\n{base64}\n-----END {kind}-----\n");
            // Keycloak's own default.
            let algorithm = algorithm.or(Some("RS256"));
            draft.keys(&format!("attributes.jwt.credential.{name}"), &pem, algorithm, report);
            break;
        }
    }
}
