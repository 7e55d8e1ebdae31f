//! Conversion between the declarations of a file and the messages of the admin API.

use std::path::Path;

use token_proto::admin::v1;

use super::{
    Declared, DeclaredGrant,
    credentials::{DeclaredSecret, Places},
    identity::DeclaredIdentity,
};

impl Declared {
    /// Returns the message of the admin API, without credentials.
    ///
    /// # Errors
    ///
    /// When a lifetime is too long for any token.
    pub fn to_proto(&self) -> Result<v1::Client, prost_types::DurationError> {
        let grant = |grant: &DeclaredGrant| v1::Grant {
            audience: grant.audience.clone(),
            scopes: grant.scopes.clone(),
            default_scopes: grant.default_scopes().to_vec(),
        };
        Ok(v1::Client {
            client_id: self.id.clone(),
            display_name: self.name.clone(),
            disabled: self.disabled,
            token_lifetime: self.token_lifetime.map(prost_types::Duration::try_from).transpose()?,
            grant_types: self.grant_types.clone(),
            jwks_uri: self.jwks_uri.clone(),
            may_impersonate: self.may_impersonate,
            accept_token_endpoint_audience: self.accept_token_endpoint_audience,
            subject_audiences: self.subject_audiences.clone(),
            redirect_uris: self.redirect_uris.clone(),
            claims: self.claims.clone().into_iter().collect(),
            labels: self.labels.clone().into_iter().collect(),
            grants: self.grants.iter().map(grant).collect(),
            ..Default::default()
        })
    }
}

impl Declared {
    /// Returns the credentials that a new client starts with. `folder` is the base of relative paths.
    ///
    /// # Errors
    ///
    /// When a credential cannot be read, or only a file that is the store may contain it, or there are
    /// several imported secrets.
    pub fn credentials_to_proto(&self, folder: &Path) -> Result<Vec<v1::Credential>, String> {
        self.expect_one_imported()?;
        let places = Places { folder, variable: &|_| None };
        let secrets = self.secrets.iter().map(DeclaredSecret::to_proto);
        let keys = self.keys.iter().map(|key| key.to_proto(places));
        secrets.chain(keys).chain(self.identities.iter().map(DeclaredIdentity::to_proto)).collect()
    }
}

/// Every field is named, so that a new one cannot be forgotten.
impl From<v1::Client> for Declared {
    fn from(client: v1::Client) -> Self {
        let v1::Client {
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
            accept_token_endpoint_audience,
            subject_audiences,
        } = client;
        let grant = |v1::Grant { audience, scopes, default_scopes }: v1::Grant| DeclaredGrant {
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
            accept_token_endpoint_audience,
            subject_audiences,
            redirect_uris,
            claims: claims.into_iter().collect(),
            labels: labels.into_iter().collect(),
            grants: grants.into_iter().map(grant).collect(),
            // The API does not return secrets.
            secrets: Vec::new(),
            keys: Vec::new(),
            identities: Vec::new(),
        }
        .normal()
    }
}
