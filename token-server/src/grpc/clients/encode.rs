//! Domain → wire for clients.

use token_issuer::client::{Client, Credential, CredentialKind, Grant, SecretHash};
use token_proto::admin::v1;

use crate::convert::admin::federated_identity;

pub(super) fn client(client: Client) -> v1::Client {
    let etag = if client.revision == 0 { String::new() } else { client.etag() };
    let Client {
        id,
        display_name,
        grants,
        credentials,
        token_lifetime,
        claims,
        redirect_uris,
        disabled,
        grant_types,
        jwks_uri,
        may_impersonate,
        accept_token_endpoint_audience,
        subject_audiences,
        registration: _,
        labels,
        revision: _,
        create_time,
        update_time,
    } = client;
    v1::Client {
        client_id: id.into(),
        display_name,
        grants: grants.into_iter().map(grant).collect(),
        credentials: credentials.into_iter().map(credential).collect(),
        token_lifetime: token_lifetime.and_then(|lifetime| prost_types::Duration::try_from(lifetime).ok()),
        claims: claims.into_iter().collect(),
        redirect_uris,
        disabled,
        labels: labels.into_iter().collect(),
        etag,
        create_time: Some(create_time.into()),
        update_time: Some(update_time.into()),
        grant_types: grant_types.into_iter().map(|grant_type| grant_type.name().to_owned()).collect(),
        jwks_uri: jwks_uri.unwrap_or_default(),
        may_impersonate,
        accept_token_endpoint_audience,
        subject_audiences: subject_audiences.into_iter().map(String::from).collect(),
    }
}

fn grant(grant: Grant) -> v1::Grant {
    let Grant { audience, scopes, default_scopes } = grant;
    v1::Grant {
        audience: audience.into(),
        scopes: scopes.into_iter().map(String::from).collect(),
        default_scopes: default_scopes.into_iter().map(String::from).collect(),
    }
}

pub(super) fn credential(credential: Credential) -> v1::Credential {
    let Credential { id, kind, create_time, expire_time, last_used_time } = credential;
    let kind = match kind {
        CredentialKind::Secret(SecretHash::Hmac { prefix, .. }) => {
            v1::credential::Kind::Secret(v1::Secret { prefix, ..v1::Secret::default() })
        }
        CredentialKind::Secret(SecretHash::Argon2id { .. }) => {
            v1::credential::Kind::Secret(v1::Secret { imported: true, ..v1::Secret::default() })
        }
        CredentialKind::PublicKey(jwk) => {
            v1::credential::Kind::PublicKey(v1::PublicKey { jwk: jwk.as_json().to_owned() })
        }
        CredentialKind::FederatedIdentity(identity) => {
            v1::credential::Kind::FederatedIdentity(federated_identity(identity))
        }
    };
    v1::Credential {
        credential_id: id,
        kind: Some(kind),
        expire_time: expire_time.map(Into::into),
        create_time: Some(create_time.into()),
        last_used_time: last_used_time.map(Into::into),
    }
}
