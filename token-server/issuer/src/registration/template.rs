//! The bounds of a client that registers itself. Its own metadata only narrow them.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    admin::{AdminError, CREDENTIALS, ClientDraft, GrantDraft, SelfRegistration},
    client::{AuthenticationMethod, Client, GrantType, RegistrationDetails},
};

use super::metadata::Wanted;

/// The upper bound on clients that an initial access token registers. Values that are not listed are not
/// allowed.
#[derive(Clone, Debug)]
pub struct Template {
    /// The grants that a client may request. A client that names no scope gets all of them.
    pub grants: Vec<GrantDraft>,
    /// The grants that it may use.
    pub grant_types: Vec<GrantType>,
    /// The authentication methods that it may use.
    pub authentication_methods: Vec<AuthenticationMethod>,
    /// The most keys, or live secrets, of one client.
    pub credentials_max: usize,
    /// The lifetime of a secret; unlimited if `None`.
    pub secret_lifetime: Option<Duration>,
    /// The lifetime of a registration access token.
    pub token_lifetime: Duration,
    /// The most registered clients of the initial access token.
    pub clients_max: u64,
}

impl Template {
    /// Returns the draft of the client, if it is allowed. `most` bounds its grants.
    pub(super) fn admit(
        &self,
        wanted: Wanted,
        most: &[GrantDraft],
        registered_with: &str,
    ) -> Result<SelfRegistration, AdminError> {
        let method = wanted.authentication_method;
        if !self.authentication_methods.contains(&method) {
            let allowed: Vec<_> = self.authentication_methods.iter().map(|method| method.name()).collect();
            let rule = format!("{method} is not allowed; allowed: {}", allowed.join(", "));
            return Err(AdminError::invalid("token_endpoint_auth_method", rule));
        }
        let has_keys = !wanted.keys.is_empty() || wanted.jwks_uri.is_some();
        if (method == AuthenticationMethod::PrivateKeyJwt) != has_keys {
            return Err(AdminError::invalid(
                "jwks",
                "private_key_jwt needs jwks or jwks_uri, and the other methods take neither",
            ));
        }
        for grant_type in &wanted.grant_types {
            if !self.grant_types.contains(grant_type) {
                return Err(AdminError::invalid("grant_types", format!("{grant_type} is not allowed")));
            }
        }
        let draft = ClientDraft {
            display_name: wanted.client_name.unwrap_or_default(),
            grants: narrowed(most, wanted.scopes.as_deref())?,
            redirect_uris: wanted.redirect_uris,
            grant_types: wanted.grant_types.iter().map(|grant_type| grant_type.name().to_owned()).collect(),
            jwks_uri: wanted.jwks_uri.unwrap_or_default(),
            ..ClientDraft::default()
        };
        let details = RegistrationDetails {
            registered_with: registered_with.to_owned(),
            authentication_method: method,
            client_uri: wanted.client_uri,
            software_id: wanted.software_id,
            software_version: wanted.software_version,
        };
        Ok(SelfRegistration {
            draft,
            keys: wanted.keys,
            details,
            credentials_max: self.credentials_max,
            secret_lifetime: self.secret_lifetime,
            token_lifetime: self.token_lifetime,
            clients_max: self.clients_max,
        })
    }
}

/// Bounds the wanted metadata by those that an operator has set: they may narrow, and never widen. The
/// operator's display name stays.
pub(super) fn held(mut wanted: Wanted, client: &Client) -> Result<Wanted, AdminError> {
    let is_set = |field: &str| client.registration.as_ref().is_some_and(|known| known.is_set(field));
    let broken = |field: &str| Err(AdminError::invalid(field, "an operator has set it; a client can only narrow it"));
    if is_set("display_name") {
        wanted.client_name = Some(client.display_name.clone());
    }
    if is_set("grant_types") && !wanted.grant_types.iter().all(|wanted| client.may_use(*wanted)) {
        return broken("grant_types");
    }
    if is_set("redirect_uris") && !wanted.redirect_uris.iter().all(|uri| client.redirect_uris.contains(uri)) {
        return broken("redirect_uris");
    }
    // An operator who removes a credential also removes every way to a new one.
    if (is_set("jwks_uri") || is_set(CREDENTIALS)) && wanted.jwks_uri.is_some() && wanted.jwks_uri != client.jwks_uri {
        return broken("jwks_uri");
    }
    Ok(wanted)
}

/// Returns the requested scopes at each audience. An audience without any of them is left out.
fn narrowed(most: &[GrantDraft], scopes: Option<&[String]>) -> Result<Vec<GrantDraft>, AdminError> {
    let Some(scopes) = scopes else { return Ok(most.to_vec()) };
    let known: BTreeSet<&String> = most.iter().flat_map(|grant| &grant.scopes).collect();
    if let Some(beyond) = scopes.iter().find(|scope| !known.contains(scope)) {
        return Err(AdminError::invalid("scope", format!("{beyond} is not allowed")));
    }
    let keep = |from: &[String]| from.iter().filter(|scope| scopes.contains(scope)).cloned().collect::<Vec<_>>();
    let narrowed = most.iter().map(|grant| GrantDraft {
        audience: grant.audience.clone(),
        scopes: keep(&grant.scopes),
        default_scopes: keep(&grant.default_scopes),
    });
    Ok(narrowed.filter(|grant| !grant.scopes.is_empty()).collect())
}

/// Returns the client's current grants as drafts.
pub(super) fn drafts(client: &Client) -> Vec<GrantDraft> {
    let texts = |scopes: &BTreeSet<_>| scopes.iter().map(ToString::to_string).collect();
    let draft = |grant: &crate::client::Grant| GrantDraft {
        audience: grant.audience.to_string(),
        scopes: texts(&grant.scopes),
        default_scopes: texts(&grant.default_scopes),
    };
    client.grants.iter().map(draft).collect()
}
