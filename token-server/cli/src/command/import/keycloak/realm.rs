//! The parts of a realm that decide on the contents of its clients' tokens.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::import::{fields::Fields, report::Report};

/// Clients that Keycloak makes in every realm.
pub(super) const OWN_CLIENTS: [&str; 6] =
    ["account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"];

/// Client scopes that Keycloak makes in every realm. They concern people and Keycloak's own claims.
const OWN_SCOPES: [&str; 15] = [
    "acr",
    "address",
    "basic",
    "email",
    "microprofile-jwt",
    "offline_access",
    "organization",
    "phone",
    "profile",
    "role_list",
    "roles",
    "saml_organization",
    "service_account",
    "web-origins",
    "openid",
];

/// A role: of a client, or of the realm.
type Role = (Option<String>, String);

pub(super) struct Realm {
    pub(super) name: String,
    scopes: BTreeMap<String, ClientScope>,
    /// The roles of each client's service account, without those that they contain.
    accounts: BTreeMap<String, BTreeSet<Role>>,
    /// The clients whose service account is disabled. Keycloak issues no token to them.
    disabled_accounts: BTreeSet<String>,
    composites: BTreeMap<Role, Vec<Role>>,
}

/// A client scope that the realm's operator made.
pub(super) struct ClientScope {
    /// The name is in the claim `scope`.
    pub(super) is_in_token: bool,
    pub(super) mappers: Vec<Mapper>,
}

/// A protocol mapper that changes access tokens.
#[derive(Clone)]
pub(super) enum Mapper {
    Audience(String),
    Claim {
        name: String,
        value: String,
    },
    /// A mapper without an equivalent, by its name.
    Other(String),
}

impl Realm {
    pub(super) fn read(name: &str, fields: &mut Fields, report: &mut Report) -> Self {
        let mut scopes = BTreeMap::new();
        for mut scope in fields.objects("clientScopes") {
            let Some(name) = scope.text("name") else { continue };
            let in_token = scope.object("attributes").text("include.in.token.scope");
            // Keycloak's default is true.
            let is_in_token = in_token.as_deref() != Some("false");
            scopes.insert(name, ClientScope { is_in_token, mappers: mappers(&mut scope) });
        }
        let (mut accounts, mut disabled_accounts, mut people) = (BTreeMap::new(), BTreeSet::new(), 0_u32);
        for mut user in fields.objects("users") {
            match user.text("serviceAccountClientId") {
                Some(client) => {
                    let roles = roles_of(&mut user, "realmRoles", "clientRoles");
                    if !user.texts("groups").is_empty() {
                        report.leave(&client, "groups of the service account", "Groups and their roles are not read.");
                    }
                    // As Keycloak reads it: an account that does not say so is disabled.
                    if !user.flag("enabled") {
                        disabled_accounts.insert(client.clone());
                    }
                    accounts.insert(client, roles);
                }
                None => people += 1,
            }
        }
        if people > 0 {
            report.leave(&format!("realm {name}"), &format!("people: {people}"), "People are not carried over.");
        }
        let composites = composites(&mut fields.object("roles"));
        Self { name: name.to_owned(), scopes, accounts, disabled_accounts, composites }
    }

    pub(super) fn has_disabled_account(&self, client: &str) -> bool {
        self.disabled_accounts.contains(client)
    }

    /// The client scope, unless it is one of Keycloak's own or unknown.
    pub(super) fn scope(&self, name: &str) -> Option<&ClientScope> {
        if OWN_SCOPES.contains(&name) { None } else { self.scopes.get(name) }
    }

    pub(super) fn is_own_scope(name: &str) -> bool {
        OWN_SCOPES.contains(&name)
    }

    /// The roles of the client's service account, with the roles that they contain.
    pub(super) fn roles(&self, client: &str) -> BTreeSet<Role> {
        let mut found = BTreeSet::new();
        let mut open: Vec<Role> = self.accounts.get(client).into_iter().flatten().cloned().collect();
        while let Some(role) = open.pop() {
            if found.insert(role.clone()) {
                open.extend(self.composites.get(&role).into_iter().flatten().cloned());
            }
        }
        found
    }
}

/// The protocol mappers of a client or a client scope that change access tokens.
pub(super) fn mappers(holder: &mut Fields) -> Vec<Mapper> {
    let mut mappers = Vec::new();
    for mut mapper in holder.objects("protocolMappers") {
        let (name, kind) = (mapper.text("name").unwrap_or_default(), mapper.text("protocolMapper").unwrap_or_default());
        let mut config = mapper.object("config");
        // Only a mapper that says so leaves the access token alone.
        if config.text("access.token.claim").as_deref() == Some("false") {
            continue;
        }
        let audience = config.text("included.client.audience").or_else(|| config.text("included.custom.audience"));
        let (claim, value) = (config.text("claim.name"), config.text("claim.value"));
        let is_text = config.text("jsonType.label").is_none_or(|kind| kind == "String");
        mappers.push(match (kind.as_str(), audience, claim, value) {
            ("oidc-audience-mapper", Some(audience), ..) => Mapper::Audience(audience),
            // A dot nests the claim, and a slash before it does not.
            ("oidc-hardcoded-claim-mapper", _, Some(claim), Some(value)) if is_text && !claim.contains('.') => {
                Mapper::Claim { name: claim, value }
            }
            _ => Mapper::Other(name),
        });
    }
    mappers
}

/// Roles as two members of an object name them.
fn roles_of(fields: &mut Fields, realm: &str, client: &str) -> BTreeSet<Role> {
    let mut roles: BTreeSet<Role> = fields.texts(realm).into_iter().map(|role| (None, role)).collect();
    let mut clients = fields.object(client);
    for id in clients.names() {
        roles.extend(clients.texts(&id).into_iter().map(|role| (Some(id.clone()), role)));
    }
    roles
}

/// The roles that a role contains.
fn composites(roles: &mut Fields) -> BTreeMap<Role, Vec<Role>> {
    let mut composites = BTreeMap::new();
    let mut add = |owner: Option<&str>, roles: Vec<Fields>| {
        for mut role in roles {
            let Some(name) = role.text("name") else { continue };
            let contained = roles_of(&mut role.object("composites"), "realm", "client");
            composites.insert((owner.map(str::to_owned), name), contained.into_iter().collect());
        }
    };
    add(None, roles.objects("realm"));
    let mut clients = roles.object("client");
    for id in clients.names() {
        add(Some(&id), clients.objects(&id));
    }
    composites
}
