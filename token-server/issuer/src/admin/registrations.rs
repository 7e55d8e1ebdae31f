//! Clients that register themselves, and manage their own registration. RFC 7591, RFC 7592.
//!
//! Checks, store and audit are the same as for clients that an operator registers. The decision is different:
//! see [`crate::registration`].

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    AdminError, ClientAdmin, ClientDraft, ClientField, NewCredential, NewCredentialKind, Operator,
    clients::{Edit, client_id},
    credentials::CREDENTIALS,
};
use crate::{
    client::{
        AuthenticationMethod, Client, ClientId, Credential, CredentialKind, Registration, RegistrationDetails,
        secret::ClientSecret,
    },
    cost::{Step, takes},
    origin::Peer,
    timestamp,
};

/// The fields that a client sets itself when it changes its registration. All others belong to the operators.
const FIELDS: [ClientField; 5] = [
    ClientField::DisplayName,
    ClientField::Grants,
    ClientField::RedirectUris,
    ClientField::GrantTypes,
    ClientField::JwksUri,
];

/// The default lifetime of a registration access token that an operator creates.
const TOKEN_LIFETIME: Duration = Duration::from_secs(365 * 86_400);
const CREDENTIALS_HELD: &str =
    "an operator has removed a credential of the client; ask for a new registration access token to get another";

fn is_federated(credential: &Credential) -> bool {
    matches!(credential.kind, CredentialKind::FederatedIdentity(_))
}

fn is_live(registration: &Registration, now: SystemTime) -> bool {
    registration.token_expire_time.is_none_or(|expires| now < expires)
}

/// A client's wanted registration, within its bounds.
#[derive(Clone, Debug)]
pub struct SelfRegistration {
    /// The wanted state of the client. The server chooses its ID.
    pub draft: ClientDraft,
    /// Public JWKs, as JSON.
    pub keys: Vec<String>,
    /// The metadata stored beside the client.
    pub details: RegistrationDetails,
    /// The most keys, or live secrets.
    pub credentials_max: usize,
    /// The lifetime of a secret generated for it.
    pub secret_lifetime: Option<Duration>,
    /// The lifetime of its registration access token.
    pub token_lifetime: Duration,
    /// The most registered clients of one initial access token.
    pub clients_max: u64,
}

/// A new or changed registration.
#[derive(Debug)]
pub struct RegisteredClient {
    /// The stored client.
    pub client: Client,
    /// A new secret, shown once.
    pub secret: Option<ClientSecret>,
    /// The new registration access token, shown once.
    pub token: ClientSecret,
}

impl ClientAdmin {
    /// Registers a client that registers itself.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn register(&self, by: &Operator, wanted: &SelfRegistration) -> Result<RegisteredClient, AdminError> {
        let now = timestamp::stored(self.clock.now());
        let mut client = self.drafted(&wanted.draft, now)?;
        let (secret, token) = self.prove(&mut client, wanted, now)?;
        by.expect_may_hand_out(&client)?;
        let record = by.record(now, "RegisterClient", client.id.as_str(), "");
        let client = self.store.register_client(&client, wanted.clients_max, &record).await?;
        let client = client.ok_or(AdminError::TooManyClients)?;
        self.registry.forget(&client.id);
        Ok(RegisteredClient { client, secret, token })
    }

    /// Returns the client with this ID, if `token` is its registration access token. An unknown ID costs as
    /// much as a wrong token. `peer` has not authenticated, so its lookups in flight are limited.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] for an unknown ID and for a wrong or expired token. Also returns the store's
    /// errors.
    pub async fn registered(&self, peer: Peer, id: &str, token: &str) -> Result<Arc<Client>, AdminError> {
        takes(Step::Lookup);
        let client = match ClientId::try_from(id) {
            Ok(id) => self.registry.find_for(Some(peer), &id).await?,
            Err(_) => None,
        };
        let known = client.as_ref().and_then(|client| client.registration.as_ref());
        let matches = self.peppers.matches_any(token, known.map(|known| &known.token));
        let live = known.is_some_and(|known| is_live(known, self.clock.now()));
        client.filter(|_| matches && live).ok_or(AdminError::NotFound("client"))
    }

    /// Changes the registration of the client whose registration access token is `token`, and replaces that
    /// token. `wanted` returns the new registration for the current client.
    ///
    /// # Errors
    ///
    /// Those of `wanted`; [`AdminError::Invalid`], [`AdminError::NotFound`] if the token has been replaced,
    /// the store's.
    pub async fn update_registration(
        &self,
        by: &Operator,
        id: &ClientId,
        token: &str,
        wanted: impl Fn(&Client) -> Result<SelfRegistration, AdminError> + Send + Sync,
    ) -> Result<RegisteredClient, AdminError> {
        let edit = Edit::new(by, "UpdateRegistration");
        let changed = self.change(id, &edit, |client, now| {
            self.expect_registered(client, token)?;
            let wanted = wanted(client)?;
            self.write(&wanted.draft, &FIELDS, client)?;
            Ok((self.prove(client, &wanted, now)?, String::new()))
        });
        let (client, (secret, token)) = changed.await?;
        Ok(RegisteredClient { client, secret, token })
    }

    /// Removes the client whose registration access token is `token`. RFC 7592 section 2.3.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], also if the token has been replaced, the store's.
    pub async fn delete_registration(&self, by: &Operator, id: &ClientId, token: &str) -> Result<(), AdminError> {
        let mut record = by.record(self.clock.now(), "DeleteRegistration", id.as_str(), "");
        self.revoke_with(&mut record, id).await?;
        self.remove_where(id, &record, |client| self.expect_registered(client, token)).await
    }

    /// Generates a new registration access token for a client that has registered itself. The old one is
    /// rejected from now on. The operator gives the new one to the client's owner, who may get credentials
    /// with it again.
    ///
    /// # Errors
    ///
    /// [`AdminError::Precondition`] for a client that has not registered itself, [`AdminError::Invalid`] for
    /// a time in the past, [`AdminError::NotFound`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn replace_registration_token(
        &self,
        by: &Operator,
        id: &str,
        expire_time: Option<SystemTime>,
    ) -> Result<(ClientSecret, SystemTime), AdminError> {
        let id = client_id(id, "client_id")?;
        let edit = Edit::new(by, "ReplaceRegistrationToken");
        let replaced = self.change(&id, &edit, |client, now| {
            let expire_time = timestamp::stored(expire_time.unwrap_or(now + TOKEN_LIFETIME));
            if expire_time <= now {
                return Err(AdminError::invalid("expire_time", "it is in the past"));
            }
            let registration = client.registration.as_mut().ok_or_else(|| {
                AdminError::Precondition("The client has not registered itself, so it has no such token.".to_owned())
            })?;
            let token = ClientSecret::generate()?;
            registration.token = self.peppers.hash(&token);
            registration.token_expire_time = Some(expire_time);
            for field in [CREDENTIALS, ClientField::JwksUri.name()] {
                registration.set_by_operator.remove(field);
            }
            Ok(((token, expire_time), String::new()))
        });
        Ok(replaced.await?.1)
    }

    /// Returns true if the text is a live secret of the client. RFC 7592 section 2.2 lets a client repeat it.
    pub async fn is_current_secret(&self, client: &Client, secret: &str) -> bool {
        self.peppers.find_match(secret, &client.credentials, self.clock.now()).await.is_some()
    }

    /// Checks again against the stored client. Of two changes with one token, only one succeeds.
    fn expect_registered(&self, client: &Client, token: &str) -> Result<(), AdminError> {
        let now = self.clock.now();
        // An operator may have disabled the client since it was looked up.
        let known = client.registration.as_ref().filter(|known| is_live(known, now) && !client.disabled);
        let known = known.map(|known| &known.token);
        if self.peppers.matches_any(token, known) { Ok(()) } else { Err(AdminError::NotFound("client")) }
    }

    /// Sets the client's credentials and its new registration access token.
    fn prove(
        &self,
        client: &mut Client,
        wanted: &SelfRegistration,
        now: SystemTime,
    ) -> Result<(Option<ClientSecret>, ClientSecret), AdminError> {
        client.credentials.retain(|credential| credential.is_live(now));
        // A `jwks_uri` is a credential too.
        let held = client
            .registration
            .as_ref()
            .is_some_and(|known| known.is_set(CREDENTIALS) || known.is_set(ClientField::JwksUri.name()));
        let secret = match wanted.details.authentication_method {
            AuthenticationMethod::PrivateKeyJwt => {
                let keys = self.keys(&client.credentials, wanted, now)?;
                if held && keys.iter().any(|key| !client.credentials.contains(key)) {
                    return Err(AdminError::invalid("jwks", CREDENTIALS_HELD));
                }
                // An operator adds federated identities, and a registration does not name them.
                client.credentials.retain(is_federated);
                client.credentials.extend(keys);
                None
            }
            AuthenticationMethod::ClientSecretBasic | AuthenticationMethod::ClientSecretPost => {
                let (federated, others): (Vec<_>, Vec<_>) = client.credentials.drain(..).partition(is_federated);
                let is_secret = |credential: &Credential| matches!(credential.kind, CredentialKind::Secret(_));
                let mut secrets: Vec<Credential> = others.into_iter().filter(is_secret).collect();
                client.credentials = federated;
                let added = if held {
                    if secrets.is_empty() {
                        return Err(AdminError::invalid("token_endpoint_auth_method", CREDENTIALS_HELD));
                    }
                    None
                } else {
                    self.secret(&mut secrets, wanted, now)?
                };
                client.credentials.extend(secrets);
                added
            }
        };
        let token = ClientSecret::generate()?;
        let before = client.registration.take();
        client.registration = Some(Registration {
            token: self.peppers.hash(&token),
            details: wanted.details.clone(),
            token_expire_time: Some(timestamp::stored(now + wanted.token_lifetime)),
            set_by_operator: before.map(|before| before.set_by_operator).unwrap_or_default(),
        });
        Ok((secret, token))
    }

    /// Returns the keys as credentials. A known key keeps its credential.
    fn keys(
        &self,
        before: &[Credential],
        wanted: &SelfRegistration,
        now: SystemTime,
    ) -> Result<Vec<Credential>, AdminError> {
        if wanted.keys.len() > wanted.credentials_max {
            let rule = format!("at most {} keys", wanted.credentials_max);
            return Err(AdminError::invalid("jwks", rule));
        }
        let make = |jwk: &String| {
            let new = NewCredential { kind: NewCredentialKind::PublicKey(jwk.clone()), expire_time: None };
            let made = self.make(&new, now)?.credential;
            Ok(before.iter().find(|known| known.kind == made.kind).cloned().unwrap_or(made))
        };
        wanted.keys.iter().map(make).collect()
    }

    /// Generates a secret if no live one has half of its life left.
    fn secret(
        &self,
        credentials: &mut Vec<Credential>,
        wanted: &SelfRegistration,
        now: SystemTime,
    ) -> Result<Option<ClientSecret>, AdminError> {
        let soon = now + wanted.secret_lifetime.unwrap_or_default() / 2;
        if credentials.iter().any(|credential| credential.is_live(soon)) {
            return Ok(None);
        }
        let expire_time = wanted.secret_lifetime.map(|lifetime| now + lifetime);
        let made = self.make(&NewCredential { kind: NewCredentialKind::Secret, expire_time }, now)?;
        credentials.push(made.credential);
        let beyond = credentials.len().saturating_sub(wanted.credentials_max);
        credentials.drain(..beyond);
        Ok(made.secret)
    }
}
