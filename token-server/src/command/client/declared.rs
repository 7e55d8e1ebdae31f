//! Clients as a file declares them: one TOML file under version control, without a secret in it.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use token_proto::admin::v1::{Client, Grant};

use super::changes::duration;
use crate::command::failure::Failure;

/// The file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// `[[client]]`.
    #[serde(default, rename = "client")]
    pub(super) clients: Vec<Declared>,
}

/// What an operator decides about a client. What is left out is the default, not what happens to be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Declared {
    pub(super) id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(skip_serializing_if = "is_false")]
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none", with = "humantime_serde::option")]
    token_lifetime: Option<Duration>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grant_types: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    jwks_uri: String,
    #[serde(skip_serializing_if = "is_false")]
    may_impersonate: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "grant", skip_serializing_if = "Vec::is_empty")]
    grants: Vec<DeclaredGrant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredGrant {
    audience: String,
    scopes: Vec<String>,
    /// Left out: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_scopes: Option<Vec<String>>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl File {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("cannot read {shown}")).because(error))?;
        let file: Self = toml::from_str(&text)
            .map_err(|error| Failure::usage(format!("{shown} does not declare clients:\n{error}")))?;
        let mut seen = std::collections::BTreeSet::new();
        for client in &file.clients {
            if client.id.is_empty() {
                return Err(Failure::usage(format!("{shown}: a [[client]] has no id")));
            }
            if !seen.insert(&client.id) {
                return Err(Failure::usage(format!("{shown} declares the client {:?} twice", client.id)));
            }
        }
        Ok(Self { clients: file.clients.into_iter().map(Declared::normal).collect() })
    }

    /// As it would stand in a file.
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self).map_err(|error| Failure::failed("the clients cannot be written as TOML", error))
    }
}

impl Declared {
    /// One form for what means the same, so that equal is equal.
    fn normal(mut self) -> Self {
        for list in [&mut self.grant_types, &mut self.redirect_uris] {
            list.sort();
        }
        for grant in &mut self.grants {
            grant.scopes.sort();
            if let Some(default) = &mut grant.default_scopes {
                default.sort();
            }
            if grant.default_scopes.as_ref() == Some(&grant.scopes) {
                grant.default_scopes = None;
            }
        }
        self.grants.sort_by(|left, right| left.audience.cmp(&right.audience));
        self
    }

    /// The fields, by their names in the contract, in which two differ.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let fields = [
            ("display_name", self.name != other.name),
            ("disabled", self.disabled != other.disabled),
            ("token_lifetime", self.token_lifetime != other.token_lifetime),
            ("grant_types", self.grant_types != other.grant_types),
            ("jwks_uri", self.jwks_uri != other.jwks_uri),
            ("may_impersonate", self.may_impersonate != other.may_impersonate),
            ("redirect_uris", self.redirect_uris != other.redirect_uris),
            ("claims", self.claims != other.claims),
            ("labels", self.labels != other.labels),
            ("grants", self.grants != other.grants),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
    }

    /// As the admin API takes it.
    pub(super) fn to_proto(&self) -> Result<Client, Failure> {
        let grant = |grant: &DeclaredGrant| Grant {
            audience: grant.audience.clone(),
            scopes: grant.scopes.clone(),
            default_scopes: grant.default_scopes.clone().unwrap_or_else(|| grant.scopes.clone()),
        };
        Ok(Client {
            client_id: self.id.clone(),
            display_name: self.name.clone(),
            disabled: self.disabled,
            token_lifetime: self.token_lifetime.map(duration).transpose()?,
            grant_types: self.grant_types.clone(),
            jwks_uri: self.jwks_uri.clone(),
            may_impersonate: self.may_impersonate,
            redirect_uris: self.redirect_uris.clone(),
            claims: self.claims.clone().into_iter().collect(),
            labels: self.labels.clone().into_iter().collect(),
            grants: self.grants.iter().map(grant).collect(),
            ..Default::default()
        })
    }
}

/// As the admin API has it. Every field by name, so that a new one cannot be forgotten.
impl From<Client> for Declared {
    fn from(client: Client) -> Self {
        let Client {
            client_id,
            display_name,
            grants,
            credentials: _,
            token_lifetime,
            claims,
            redirect_uris,
            disabled,
            labels,
            etag: _,
            create_time: _,
            update_time: _,
            grant_types,
            jwks_uri,
            may_impersonate,
        } = client;
        let grant = |Grant { audience, scopes, default_scopes }: Grant| DeclaredGrant {
            audience,
            scopes,
            default_scopes: Some(default_scopes),
        };
        Self {
            id: client_id,
            name: display_name,
            disabled,
            token_lifetime: token_lifetime.and_then(|lifetime| lifetime.try_into().ok()),
            grant_types,
            jwks_uri,
            may_impersonate,
            redirect_uris,
            claims: claims.into_iter().collect(),
            labels: labels.into_iter().collect(),
            grants: grants.into_iter().map(grant).collect(),
        }
        .normal()
    }
}
