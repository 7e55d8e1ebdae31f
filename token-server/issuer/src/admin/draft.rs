//! The wanted state of a client, before any check.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{AdminError, AdminRules, check::Check, clients::client_id};
use crate::client::Client;

/// The wanted state of a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientDraft {
    /// The client ID. If it is empty on creation, one is generated.
    pub client_id: String,
    /// A name for people.
    pub display_name: String,
    /// The audiences and scopes that the client may request.
    pub grants: Vec<GrantDraft>,
    /// The lifetime of its tokens, if it is not the server's default.
    pub token_lifetime: Option<Duration>,
    /// Claims added to each of its tokens.
    pub claims: BTreeMap<String, String>,
    /// The redirect URIs that a `redirect_uri` is checked against.
    pub redirect_uris: Vec<String>,
    /// A disabled client gets no token.
    pub disabled: bool,
    /// The grants that it may use, by their OAuth names.
    pub grant_types: Vec<String>,
    /// The URI from which its keys are fetched. Empty if there is none.
    pub jwks_uri: String,
    /// Allows exchanged tokens that stand for the subject alone.
    pub may_impersonate: bool,
    /// Accepts client assertions whose audience is the token endpoint.
    pub accept_token_endpoint_audience: bool,
    /// The audiences whose access tokens it may exchange, beside its own ID.
    pub subject_audiences: Vec<String>,
    /// For operators' own bookkeeping.
    pub labels: BTreeMap<String, String>,
}

/// The scopes that a client may request at one resource server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantDraft {
    /// The resource server.
    pub audience: String,
    /// The scopes that it may request.
    pub scopes: Vec<String>,
    /// The scopes of a request that names none.
    pub default_scopes: Vec<String>,
}

/// The fields that can be changed.
///
/// Exhaustive: an update must handle a new field before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ClientField {
    /// `display_name`
    DisplayName,
    /// `grants`
    Grants,
    /// `token_lifetime`
    TokenLifetime,
    /// `claims`
    Claims,
    /// `redirect_uris`
    RedirectUris,
    /// `disabled`
    Disabled,
    /// `grant_types`
    GrantTypes,
    /// `jwks_uri`
    JwksUri,
    /// `may_impersonate`
    MayImpersonate,
    /// `accept_token_endpoint_audience`
    AcceptTokenEndpointAudience,
    /// `subject_audiences`
    SubjectAudiences,
    /// `labels`
    Labels,
}

impl ClientField {
    /// Every field.
    pub const ALL: [Self; 12] = [
        Self::DisplayName,
        Self::Grants,
        Self::TokenLifetime,
        Self::Claims,
        Self::RedirectUris,
        Self::Disabled,
        Self::GrantTypes,
        Self::JwksUri,
        Self::MayImpersonate,
        Self::AcceptTokenEndpointAudience,
        Self::SubjectAudiences,
        Self::Labels,
    ];

    /// The field's name in the `.proto`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DisplayName => "display_name",
            Self::Grants => "grants",
            Self::TokenLifetime => "token_lifetime",
            Self::Claims => "claims",
            Self::RedirectUris => "redirect_uris",
            Self::Disabled => "disabled",
            Self::GrantTypes => "grant_types",
            Self::JwksUri => "jwks_uri",
            Self::MayImpersonate => "may_impersonate",
            Self::AcceptTokenEndpointAudience => "accept_token_endpoint_audience",
            Self::SubjectAudiences => "subject_audiences",
            Self::Labels => "labels",
        }
    }

    /// Returns the field with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Returns true if the draft sets the field: an update without a mask changes the fields that are set.
    /// AIP-134.
    fn is_set(self, draft: &ClientDraft) -> bool {
        match self {
            Self::DisplayName => !draft.display_name.is_empty(),
            Self::Grants => !draft.grants.is_empty(),
            Self::TokenLifetime => draft.token_lifetime.is_some(),
            Self::Claims => !draft.claims.is_empty(),
            Self::RedirectUris => !draft.redirect_uris.is_empty(),
            Self::Disabled => draft.disabled,
            Self::GrantTypes => !draft.grant_types.is_empty(),
            Self::JwksUri => !draft.jwks_uri.is_empty(),
            Self::MayImpersonate => draft.may_impersonate,
            Self::AcceptTokenEndpointAudience => draft.accept_token_endpoint_audience,
            Self::SubjectAudiences => !draft.subject_audiences.is_empty(),
            Self::Labels => !draft.labels.is_empty(),
        }
    }
}

impl ClientDraft {
    /// Returns the fields that the draft sets.
    #[must_use]
    pub fn set_fields(&self) -> Vec<ClientField> {
        ClientField::ALL.into_iter().filter(|field| field.is_set(self)).collect()
    }

    /// Returns the client without credentials, if it keeps the rules.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`].
    pub fn client(&self, rules: &AdminRules) -> Result<Client, AdminError> {
        let id = client_id(&self.client_id, "id")?;
        rules.check_new_name(&id)?;
        // A draft does not know the time; the store operation sets it.
        let mut client = Client::new(id, SystemTime::UNIX_EPOCH);
        let mut check = Check::new(rules);
        self.write(&ClientField::ALL, &mut client, &mut check);
        check.finish()?;
        Ok(client)
    }

    /// Writes the `fields` that keep the rules into `client`. `check` collects the broken rules.
    pub(super) fn write(&self, fields: &[ClientField], client: &mut Client, check: &mut Check<'_>) {
        for field in fields {
            match field {
                ClientField::DisplayName => client.display_name = check.display_name(&self.display_name),
                ClientField::Grants => client.grants = check.grants(&self.grants),
                ClientField::TokenLifetime => client.token_lifetime = check.token_lifetime(self.token_lifetime),
                ClientField::Claims => client.claims = check.claims(&self.claims),
                ClientField::RedirectUris => client.redirect_uris = check.redirect_uris(&self.redirect_uris),
                ClientField::Disabled => client.disabled = self.disabled,
                ClientField::GrantTypes => client.grant_types = check.grant_types(&self.grant_types),
                ClientField::JwksUri => client.jwks_uri = check.jwks_uri(&self.jwks_uri),
                ClientField::MayImpersonate => client.may_impersonate = self.may_impersonate,
                ClientField::AcceptTokenEndpointAudience => {
                    client.accept_token_endpoint_audience = self.accept_token_endpoint_audience;
                }
                ClientField::SubjectAudiences => {
                    client.subject_audiences = check.subject_audiences(&self.subject_audiences);
                }
                ClientField::Labels => client.labels = check.labels(&self.labels),
            }
        }
    }
}
