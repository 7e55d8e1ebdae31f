//! Credentials: several live at once, so that a new one is in use before the old one goes.

use std::time::{Duration, SystemTime};

use super::{
    AdminError, ClientAdmin, Operator,
    clients::{Edit, client_id},
    made,
};
use crate::{
    client::{Client, Credential, CredentialKind, PublicKeyJwk, secret::ClientSecret},
    timestamp,
};

/// Credentials of one client, at the most: each secret and key is tried in turn.
pub const CREDENTIALS_MAX: usize = 20;

/// The name of the field that holds them, in the `.proto`.
pub(crate) const CREDENTIALS: &str = "credentials";

/// A credential to be added.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// The kind of credential.
    pub kind: NewCredentialKind,
    /// It is refused from this time on.
    pub expire_time: Option<SystemTime>,
}

/// The kinds of credential that can be added.
#[derive(Clone, Debug)]
pub enum NewCredentialKind {
    /// A secret, made here.
    Secret,
    /// A public JWK, as JSON, for `private_key_jwt`.
    PublicKey(String),
}

/// A credential that was added.
#[derive(Debug)]
pub struct AddedCredential {
    /// As it is stored.
    pub credential: Credential,
    /// To be shown once; absent for a public key.
    pub secret: Option<ClientSecret>,
}

impl ClientAdmin {
    /// Adds a credential. With `overlap`, the client's other secrets expire that long from now.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a key that cannot be used, a time that is past, or too many credentials;
    /// [`AdminError::NotFound`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn add_credential(
        &self,
        by: &Operator,
        id: &str,
        new: &NewCredential,
        overlap: Option<Duration>,
    ) -> Result<AddedCredential, AdminError> {
        let id = client_id(id, "client_id")?;
        let edit = Edit::new(by, "AddCredential");
        let (_, added) = self
            .change(&id, &edit, |client, now| {
                if client.credentials.len() >= CREDENTIALS_MAX {
                    let rule = format!("a client has at most {CREDENTIALS_MAX} credentials; remove one first");
                    return Err(AdminError::invalid("credential", rule));
                }
                let added = self.make(new, now)?;
                if let Some(overlap) = overlap {
                    expire_secrets(client, now + overlap);
                }
                client.credentials.push(added.credential.clone());
                let detail = added.credential.id.clone();
                Ok((added, detail))
            })
            .await?;
        Ok(added)
    }

    /// Removes a credential at once. The tokens that the client got by it stay valid unless `revoke_tokens`
    /// ends all tokens of the client: most credentials are removed because a newer one is in use.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn remove_credential(
        &self,
        by: &Operator,
        id: &str,
        credential_id: &str,
        revoke_tokens: bool,
    ) -> Result<(), AdminError> {
        let id = client_id(id, "client_id")?;
        let edit = Edit { revoke_tokens, ..Edit::new(by, "RemoveCredential") };
        let removed = self.change(&id, &edit, |client, _| {
            let before = client.credentials.len();
            client.credentials.retain(|credential| credential.id != credential_id);
            if client.credentials.len() == before {
                return Err(AdminError::NotFound("credential"));
            }
            if let Some(registration) = &mut client.registration {
                registration.set_by_operator.insert(CREDENTIALS.to_owned());
            }
            Ok(((), credential_id.to_owned()))
        });
        removed.await.map(drop)
    }

    pub(super) fn make(&self, new: &NewCredential, now: SystemTime) -> Result<AddedCredential, AdminError> {
        if new.expire_time.is_some_and(|expires| expires <= now) {
            return Err(AdminError::invalid("credential.expire_time", "it is past"));
        }
        let (mut credential, secret) = match &new.kind {
            NewCredentialKind::Secret => {
                let (credential, secret) = made::secret(&self.peppers, now)?;
                (credential, Some(secret))
            }
            NewCredentialKind::PublicKey(jwk) => {
                let jwk = PublicKeyJwk::register(jwk)
                    .map_err(|error| AdminError::invalid("credential.public_key.jwk", error.to_string()))?;
                (made::credential(CredentialKind::PublicKey(jwk), now)?, None)
            }
        };
        credential.expire_time = new.expire_time.map(timestamp::stored);
        Ok(AddedCredential { credential, secret })
    }
}

/// Never later than they would have expired anyhow.
fn expire_secrets(client: &mut Client, time: SystemTime) {
    let time = timestamp::stored(time);
    for credential in &mut client.credentials {
        if let CredentialKind::Secret(_) = credential.kind {
            credential.expire_time = Some(credential.expire_time.map_or(time, |expires| expires.min(time)));
        }
    }
}
