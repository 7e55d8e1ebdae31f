//! Clients: their grants and their credentials. RFC 6749 section 2.

mod authentication_method;
mod federated_identity;
mod grant_type;
mod name;
mod public_key;
pub mod secret;
mod registration;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

pub use authentication_method::AuthenticationMethod;
pub use federated_identity::{FederatedIdentity, FederatedIdentityError, Mismatch, SubjectMatch};
pub use grant_type::GrantType;
pub(crate) use name::is_printable;
pub use name::{Audience, ClientId, NameError, Scope};
pub use public_key::{PublicKeyError, PublicKeyJwk};
pub use registration::{Registration, RegistrationDetails};
pub use secret::SecretHash;

use crate::timestamp;

/// A client as it is stored. Its serialized form is the document in the store: a new field needs a
/// `#[serde(default)]` and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The client ID. It never changes.
    pub id: ClientId,
    /// A name for people.
    #[serde(default)]
    pub display_name: String,
    /// The audiences and scopes that it may request, one entry per audience.
    #[serde(default)]
    pub grants: Vec<Grant>,
    /// The credentials of the client. Several may be live at once.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// The lifetime of its tokens, if it is not the server's default.
    #[serde(default)]
    pub token_lifetime: Option<Duration>,
    /// Claims added to each of its tokens.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// The redirect URIs that a `redirect_uri` in a token request is checked against. RFC 6749 section 3.1.2.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// A disabled client gets no token.
    #[serde(default)]
    pub disabled: bool,
    /// The grants that it may use. Empty means the usual one: see [`Client::may_use`].
    #[serde(default)]
    pub grant_types: BTreeSet<GrantType>,
    /// The URI from which keys for `private_key_jwt` are fetched, in addition to the keys among its
    /// credentials.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// Allows exchanged tokens that stand for the subject alone. RFC 8693 section 1.1.
    #[serde(default)]
    pub may_impersonate: bool,
    /// Accepts assertions whose audience is the token endpoint, as libraries older than RFC 10070 send them.
    #[serde(default)]
    pub accept_token_endpoint_audience: bool,
    /// The audiences whose access tokens it may exchange, beside its own ID. RFC 8693 section 2.1.
    #[serde(default)]
    pub subject_audiences: BTreeSet<Audience>,
    /// The data with which a self-registered client manages its registration. RFC 7592 section 2.
    #[serde(default)]
    pub registration: Option<Registration>,
    /// For operators' own bookkeeping.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The number of changes, used as the etag. The store sets it.
    #[serde(skip)]
    pub revision: u64,
    /// The time of its registration.
    #[serde(with = "timestamp")]
    pub create_time: SystemTime,
    /// The time of its last change.
    #[serde(with = "timestamp")]
    pub update_time: SystemTime,
}

impl Client {
    /// Creates a client without grants and credentials.
    #[must_use]
    pub fn new(id: ClientId, now: SystemTime) -> Self {
        let now = timestamp::stored(now);
        Self {
            id,
            display_name: String::new(),
            grants: Vec::new(),
            credentials: Vec::new(),
            token_lifetime: None,
            claims: BTreeMap::new(),
            redirect_uris: Vec::new(),
            disabled: false,
            grant_types: BTreeSet::new(),
            jwks_uri: None,
            may_impersonate: false,
            accept_token_endpoint_audience: false,
            subject_audiences: BTreeSet::new(),
            registration: None,
            labels: BTreeMap::new(),
            revision: 0,
            create_time: now,
            update_time: now,
        }
    }

    /// Returns true if the client may use the grant. A client without registered grants may use
    /// `client_credentials` only.
    #[must_use]
    pub fn may_use(&self, grant_type: GrantType) -> bool {
        match grant_type {
            GrantType::ClientCredentials if self.grant_types.is_empty() => true,
            GrantType::ClientCredentials | GrantType::TokenExchange => self.grant_types.contains(&grant_type),
        }
    }

    /// Returns the value that identifies this state of the client.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("{:x}", self.revision)
    }

    /// Returns the rules of its federated identities, for an index by issuer and subject. A disabled client
    /// has none there, so that it is no candidate.
    pub fn federated_identities(&self) -> impl Iterator<Item = &FederatedIdentity> {
        let credentials: &[Credential] = if self.disabled { &[] } else { &self.credentials };
        credentials.iter().filter_map(|credential| match &credential.kind {
            CredentialKind::FederatedIdentity(identity) => Some(identity),
            CredentialKind::Secret(_) | CredentialKind::PublicKey(_) => None,
        })
    }

    /// Returns the scopes that the client may request at `audience`.
    #[must_use]
    pub fn grant(&self, audience: &str) -> Option<&Grant> {
        self.grants.iter().find(|grant| grant.audience.as_str() == audience)
    }
}

/// The scopes that a client may request at one resource server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The resource server, as in `aud`.
    pub audience: Audience,
    /// The scopes that it may request.
    #[serde(default)]
    pub scopes: BTreeSet<Scope>,
    /// The scopes of a request that names none; a subset of `scopes`.
    #[serde(default)]
    pub default_scopes: BTreeSet<Scope>,
}

/// A credential that a client authenticates with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Unique within the client.
    pub id: String,
    /// A secret or a key.
    pub kind: CredentialKind,
    /// The time at which it was added.
    #[serde(with = "timestamp")]
    pub create_time: SystemTime,
    /// The time from which it is rejected.
    #[serde(default, with = "timestamp::optional")]
    pub expire_time: Option<SystemTime>,
    /// The time of its last use, to the minute. It is stored beside the document, so that a use is not a
    /// change. In a cached client it is as old as the cache entry.
    #[serde(skip)]
    pub last_used_time: Option<SystemTime>,
}

impl Credential {
    /// Returns true if the credential may still be used.
    #[must_use]
    pub fn is_live(&self, now: SystemTime) -> bool {
        self.expire_time.is_none_or(|expires| now < expires)
    }
}

/// The kinds of credential.
///
/// Exhaustive: every user of credentials must handle a new kind before it compiles.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// A shared secret, as its hash.
    Secret(SecretHash),
    /// A public key for `private_key_jwt`.
    PublicKey(PublicKeyJwk),
    /// The identity of a workload at another issuer, whose tokens are the client's assertions.
    FederatedIdentity(FederatedIdentity),
}
