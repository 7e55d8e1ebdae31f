//! Clients that a file declares: one TOML file under version control, without secrets.
//!
//! The same form serves `client plan` and `client apply`, which change a store to match it, and a server
//! whose store is the file itself. Only then does it also contain the locations of the clients' secrets.

mod credentials;
mod identity;
mod wire;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use token_issuer::{
    admin::{AdminError, AdminRules, CREDENTIALS_MAX, ClientDraft, GrantDraft},
    client::{Client, SecretHash, secret::Peppers},
};

use self::credentials::{DeclaredKey, DeclaredSecret, Places};
use self::identity::DeclaredIdentity;

/// The reason for which a file does not declare clients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclaredError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The content breaks rules. All broken rules are listed.
    #[error("{} does not declare clients: {}", path.display(), problems.join("; "))]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Each problem, and its place in the file.
        problems: Vec<String>,
    },
}

/// The file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// `[[client]]`.
    #[serde(default, rename = "client")]
    pub clients: Vec<Declared>,
}

/// The settings of a client that an operator decides. A setting that is left out takes its default, not its
/// stored value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Declared {
    /// The client ID.
    pub id: String,
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
    #[serde(skip_serializing_if = "is_false")]
    accept_token_endpoint_audience: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    subject_audiences: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    claims: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(rename = "grant", skip_serializing_if = "Vec::is_empty")]
    grants: Vec<DeclaredGrant>,
    #[serde(rename = "secret", deserialize_with = "credentials::secrets", skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<DeclaredSecret>,
    #[serde(rename = "key", skip_serializing_if = "Vec::is_empty")]
    keys: Vec<DeclaredKey>,
    #[serde(rename = "identity", skip_serializing_if = "Vec::is_empty")]
    identities: Vec<DeclaredIdentity>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeclaredGrant {
    audience: String,
    scopes: Vec<String>,
    /// The default scopes. If absent, all scopes of the grant.
    #[serde(skip_serializing_if = "Option::is_none")]
    default_scopes: Option<Vec<String>>,
}

impl DeclaredGrant {
    fn default_scopes(&self) -> &[String] {
        self.default_scopes.as_ref().unwrap_or(&self.scopes)
    }
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl File {
    /// Reads a file.
    ///
    /// # Errors
    ///
    /// When it cannot be read, has another form, or declares a client twice. The error does not repeat its
    /// content.
    pub fn read(path: &Path) -> Result<Self, DeclaredError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| DeclaredError::Unreadable { path: path.to_owned(), source })?;
        let unusable = |problems| DeclaredError::Unusable { path: path.to_owned(), problems };
        let file: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            unusable(vec![format!("line {line}: {}", error.message())])
        })?;
        let mut seen = std::collections::BTreeSet::new();
        let mut problems = Vec::new();
        for client in &file.clients {
            if client.id.is_empty() {
                problems.push("a [[client]] has no id".to_owned());
            } else if !seen.insert(&client.id) {
                problems.push(format!("the client {:?} is declared twice", client.id));
            }
        }
        if !problems.is_empty() {
            return Err(unusable(problems));
        }
        Ok(Self { clients: file.clients.into_iter().map(Declared::normal).collect() })
    }

    /// Returns the content of the file.
    ///
    /// # Errors
    ///
    /// No known ones.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// The clients of a file that is the store itself, checked by the rules of the admin API.
///
/// # Errors
///
/// All problems of the file.
pub fn load(path: &Path, peppers: &Peppers, rules: &AdminRules) -> Result<Vec<Client>, DeclaredError> {
    let file = File::read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let places = Places { folder, variable: &|name| std::env::var(name).ok() };
    let (mut clients, mut problems) = (Vec::new(), Vec::new());
    for declared in &file.clients {
        match declared.client(places, peppers, rules) {
            Ok(client) => clients.push(client),
            Err(problem) => problems.push(format!("client {:?}: {problem}", declared.id)),
        }
    }
    if problems.is_empty() { Ok(clients) } else { Err(DeclaredError::Unusable { path: path.to_owned(), problems }) }
}

impl Declared {
    /// Normalizes settings that mean the same, so that they compare as equal.
    fn normal(mut self) -> Self {
        for list in [&mut self.grant_types, &mut self.redirect_uris, &mut self.subject_audiences] {
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

    /// Returns the fields that differ, by their names in the `.proto`.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let fields = [
            ("display_name", self.name != other.name),
            ("disabled", self.disabled != other.disabled),
            ("token_lifetime", self.token_lifetime != other.token_lifetime),
            ("grant_types", self.grant_types != other.grant_types),
            ("jwks_uri", self.jwks_uri != other.jwks_uri),
            ("may_impersonate", self.may_impersonate != other.may_impersonate),
            (
                "accept_token_endpoint_audience",
                self.accept_token_endpoint_audience != other.accept_token_endpoint_audience,
            ),
            ("subject_audiences", self.subject_audiences != other.subject_audiences),
            ("redirect_uris", self.redirect_uris != other.redirect_uris),
            ("claims", self.claims != other.claims),
            ("labels", self.labels != other.labels),
            ("grants", self.grants != other.grants),
        ];
        fields.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
    }

    /// Returns the client with its credentials, checked by the rules of the admin API.
    fn client(&self, places: Places<'_>, peppers: &Peppers, rules: &AdminRules) -> Result<Client, String> {
        let mut client = self.draft().client(rules).map_err(|error| error.to_string())?;
        let secrets = self.secrets.iter().map(|secret| secret.credential(places, peppers));
        let keys = self.keys.iter().map(|key| key.credential(places));
        let identities = self.identities.iter().map(|identity| identity.credential(rules));
        client.credentials = secrets.chain(keys).chain(identities).collect::<Result<_, _>>()?;
        self.expect_one_imported()?;
        if client.credentials.len() > CREDENTIALS_MAX {
            return Err(format!("it has more than {CREDENTIALS_MAX} credentials"));
        }
        let mut ids: Vec<_> = client.credentials.iter().map(|credential| &credential.id).collect();
        ids.sort_unstable();
        match ids.array_windows().find(|[one, next]| one == next) {
            Some([id, _]) => Err(format!("two credentials have the ID {id:?}")),
            None => Ok(client),
        }
    }

    /// Rejects several imported secrets: only one of a client can be compared.
    fn expect_one_imported(&self) -> Result<(), String> {
        match self.secrets.iter().filter(|secret| secret.imported().is_some()).count() {
            0 | 1 => Ok(()),
            several => Err(format!("it has {several} imported secrets, and can have one only")),
        }
    }

    fn draft(&self) -> ClientDraft {
        let grant = |grant: &DeclaredGrant| GrantDraft {
            audience: grant.audience.clone(),
            scopes: grant.scopes.clone(),
            default_scopes: grant.default_scopes().to_vec(),
        };
        let Self { id, name, disabled, token_lifetime, grant_types, jwks_uri, may_impersonate, .. } = self.clone();
        ClientDraft {
            client_id: id,
            display_name: name,
            disabled,
            token_lifetime,
            grant_types,
            jwks_uri,
            may_impersonate,
            accept_token_endpoint_audience: self.accept_token_endpoint_audience,
            subject_audiences: self.subject_audiences.clone(),
            redirect_uris: self.redirect_uris.clone(),
            claims: self.claims.clone(),
            labels: self.labels.clone(),
            grants: self.grants.iter().map(grant).collect(),
        }
    }

    /// Returns true if it declares credentials.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        !self.secrets.is_empty() || !self.keys.is_empty() || !self.identities.is_empty()
    }

    /// Checks everything but the credentials.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`].
    pub fn check(&self, rules: &AdminRules) -> Result<(), AdminError> {
        self.draft().client(rules).map(drop)
    }

    /// Adds the hash of a secret. `expires` is the time from which the secret is invalid.
    #[must_use]
    pub fn with_secret(mut self, id: &str, hash: SecretHash, expires: Option<SystemTime>) -> Self {
        self.secrets.push(DeclaredSecret::hashed(id, hash, expires));
        self
    }

    /// Adds a public JWK, as JSON.
    #[must_use]
    pub fn with_key(mut self, id: &str, jwk: String) -> Self {
        self.keys.push(DeclaredKey::inline(id, jwk));
        self
    }

    /// The hash of its imported secret, if it declares one.
    #[must_use]
    pub fn imported_hash(&self) -> Option<&SecretHash> {
        self.secrets.iter().find_map(DeclaredSecret::imported)
    }

    /// The audiences that it is granted, each with its scopes.
    pub fn grants(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.grants.iter().map(|grant| (grant.audience.as_str(), grant.scopes.as_slice()))
    }

    /// The kinds of its credentials, for people.
    #[must_use]
    pub fn credential_kinds(&self) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        if self.imported_hash().is_some() {
            kinds.push("imported secret");
        }
        if self.secrets.iter().any(|secret| secret.imported().is_none()) {
            kinds.push("secret");
        }
        if !self.keys.is_empty() {
            kinds.push("key");
        }
        if !self.identities.is_empty() {
            kinds.push("identity");
        }
        if !self.jwks_uri.is_empty() {
            kinds.push("jwks_uri");
        }
        kinds
    }
}

#[cfg(test)]
mod tests {
    use token_issuer::{client::secret::Pepper, key_material::KeyMaterial};

    use super::*;

    #[test]
    fn a_declared_client_has_one_imported_secret() {
        let peppers = Peppers::new(Pepper::new(&KeyMaterial::from_bytes([1; 32])), vec![]).importing(true);
        let hash = || Peppers::hash_imported("changeit").unwrap();
        let places = Places { folder: Path::new("."), variable: &|_| None };
        let rules = AdminRules::new(Duration::from_secs(3600));
        let one = Declared { id: "orders".to_owned(), ..Declared::default() }.with_secret("one", hash(), None);
        assert_eq!(one.client(places, &peppers, &rules).unwrap().credentials.len(), 1);
        assert_eq!(one.credentials_to_proto(Path::new(".")).unwrap().len(), 1);
        let two = one.with_secret("two", hash(), None);
        let expected = "it has 2 imported secrets, and can have one only";
        assert_eq!(two.client(places, &peppers, &rules).unwrap_err(), expected);
        assert_eq!(two.credentials_to_proto(Path::new(".")).unwrap_err(), expected);
    }
}
