//! The grants and claims of a client: from its client scopes, its protocol mappers, and its roles.

use super::realm::{Mapper, OWN_CLIENTS, Realm, mappers};
use crate::command::import::{
    draft::{Draft, Names},
    fields::Fields,
    report::Report,
};

/// Protocol mappers of the client scope `service_account` and its predecessors in each client.
const OWN_MAPPERS: [&str; 3] = ["Client ID", "Client Host", "Client IP Address"];

pub(super) fn grant(draft: &mut Draft, fields: &mut Fields, realm: &Realm, names: Names<'_>, report: &mut Report) {
    let full_scope = fields.flag("fullScopeAllowed");
    let of_client = apply(draft, mappers(fields), ("protocolMappers", true), report);
    for audience in &of_client {
        draft.audience(audience.clone());
    }
    let (default, optional) = (fields.texts("defaultClientScopes"), fields.texts("optionalClientScopes"));
    let has_roles = default.iter().any(|name| name == "roles");
    for (scopes, is_default) in [(default, true), (optional, false)] {
        for name in scopes {
            client_scope(draft, (&name, is_default), &of_client, (realm, names), report);
        }
    }
    roles(draft, realm, has_roles.then_some(full_scope), report);
    draft.settle(names, report);
}

/// Carries over one client scope.
fn client_scope(
    draft: &mut Draft,
    (name, is_default): (&str, bool),
    of_client: &[String],
    (realm, names): (&Realm, Names<'_>),
    report: &mut Report,
) {
    let item = format!("client scope {name}");
    if Realm::is_own_scope(name) {
        report.leave(draft.id(), &item, "It is Keycloak's own, for the claims of people and of Keycloak.");
        return;
    }
    let Some(scope) = realm.scope(name) else {
        report.leave(draft.id(), &item, "The export does not have it.");
        return;
    };
    let own = apply(draft, scope.mappers.clone(), (&item, is_default), report);
    let audiences = if own.is_empty() { of_client } else { &own };
    if !scope.is_in_token {
        for audience in own {
            draft.audience(audience);
        }
    } else if !draft.scope(name, audiences, is_default, names) {
        let reason = "No mapper gives it an audience, and a token needs one. Name it with --audience.";
        report.leave(draft.id(), &item, reason);
    }
}

/// Carries over the claims of mappers, and returns their audiences. `is_default` is false for an optional
/// client scope, whose claims are only in the tokens that ask for it.
fn apply(
    draft: &mut Draft,
    mappers: Vec<Mapper>,
    (holder, is_default): (&str, bool),
    report: &mut Report,
) -> Vec<String> {
    let mut audiences = Vec::new();
    for mapper in mappers {
        match mapper {
            Mapper::Audience(audience) => audiences.push(audience),
            Mapper::Claim { name, value } if is_default => {
                draft.claim(&format!("{holder}: claim {name}"), &name, &value, report);
            }
            Mapper::Claim { name, .. } => {
                let reason = "The client scope is optional. A claim here is in every token of the client.";
                report.leave(draft.id(), &format!("{holder}: claim {name}"), reason);
            }
            Mapper::Other(name) if OWN_MAPPERS.contains(&name.as_str()) => {
                let reason = "The claim client_id has the client. The address of the client is in the audit stream.";
                report.leave(draft.id(), &format!("{holder}: {name}"), reason);
            }
            Mapper::Other(name) => {
                let reason = "Claims here are fixed texts of a client. This mapper makes something else.";
                report.leave(draft.id(), &format!("{holder}: {name}"), reason);
            }
        }
    }
    audiences
}

/// Turns the service account's roles at other clients into scopes there. `full_scope` is `None` if the
/// client's tokens have no roles.
fn roles(draft: &mut Draft, realm: &Realm, full_scope: Option<bool>, report: &mut Report) {
    let id = draft.id().to_owned();
    for (client, role) in realm.roles(&id) {
        let item = match &client {
            Some(client) => format!("role {role} of {client}"),
            None => format!("role {role} of the realm"),
        };
        let reason = match (&client, full_scope) {
            (Some(own), _) if OWN_CLIENTS.contains(&own.as_str()) => "The role is Keycloak's own.",
            (None, _) if is_own(&role) => "The role is Keycloak's own.",
            (None, _) => "A role of the realm has no audience. Add a scope at the audience that reads it.",
            (_, None) => "The client's tokens have no roles: it lacks the client scope roles.",
            (_, Some(false)) => "fullScopeAllowed is off. Add the roles that its scope mappings allow.",
            (Some(client), Some(true)) => {
                let names = Names { audience: None, scopes: &[] };
                draft.scope(&role, std::slice::from_ref(client), true, names);
                report.step("Roles at a client have become scopes at that audience. Read them from scope, not from resource_access.");
                continue;
            }
        };
        report.leave(&id, &item, reason);
    }
}

/// Returns true for a role that Keycloak makes in every realm.
fn is_own(role: &str) -> bool {
    role.starts_with("default-roles-") || ["offline_access", "uma_authorization"].contains(&role)
}
