//! Clients: registered, read, changed, removed.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use token_interceptor::clock::Clock;

use super::{AdminError, ClientDraft, ClientField, Operator, check::Check, made, page};
use crate::{
    client::{
        Client, ClientId,
        secret::{ClientSecret, Peppers},
    },
    client_registry::ClientRegistry,
    store::{AdminRecord, ClientStore, StoreError},
    timestamp,
};

/// How often a change without an etag is tried again because somebody else was faster.
const ATTEMPTS: u32 = 5;

/// What a page of clients answers.
const QUESTION: &str = "clients";

/// What the server allows at the most.
#[derive(Clone, Copy, Debug)]
pub struct AdminRules {
    /// No client's tokens may live longer.
    pub token_lifetime_max: Duration,
}

/// Clients, as operators see them. Cheap to clone.
#[derive(Clone)]
pub struct ClientAdmin {
    store: Arc<dyn ClientStore>,
    pub(super) registry: ClientRegistry,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    rules: AdminRules,
}

/// A client that was registered, with its first secret.
#[derive(Debug)]
pub struct CreatedClient {
    /// As it is stored.
    pub client: Client,
    /// To be shown once; absent where the request was only checked.
    pub secret: Option<ClientSecret>,
}

/// One page of clients.
#[derive(Debug)]
pub struct Page {
    /// In the order of their IDs.
    pub clients: Vec<Client>,
    /// Asks for the next page; empty on the last.
    pub next_page_token: String,
}

/// A change to a client.
#[derive(Clone, Debug, Default)]
pub struct ClientUpdate {
    /// Which client, and what it is to be.
    pub draft: ClientDraft,
    /// What of it is to change; all else stays.
    pub fields: Vec<ClientField>,
    /// Where not empty, the client must still be the one that was read.
    pub etag: String,
    /// Checks the request and changes nothing.
    pub validate_only: bool,
}

/// How a client is edited.
pub(super) struct Edit<'a> {
    pub(super) by: &'a Operator,
    pub(super) action: &'static str,
    /// Where not empty, the client must still be the one that was read.
    pub(super) etag: &'a str,
    pub(super) validate_only: bool,
}

impl ClientAdmin {
    /// Puts it together. `registry` is told of every change before the operator is.
    #[must_use]
    pub fn new(
        store: Arc<dyn ClientStore>,
        registry: ClientRegistry,
        peppers: Peppers,
        clock: Arc<dyn Clock>,
        rules: AdminRules,
    ) -> Self {
        Self { store, registry, peppers, clock, rules }
    }

    /// Registers a client and makes its first secret. An empty ID asks for a generated one.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::AlreadyExists`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn create(
        &self,
        by: &Operator,
        draft: &ClientDraft,
        validate_only: bool,
    ) -> Result<CreatedClient, AdminError> {
        let now = timestamp::stored(self.clock.now());
        let mut client = self.drafted(draft, now)?;
        by.expect_may_hand_out(&client)?;
        if validate_only {
            let taken = self.store.client(&client.id).await?.is_some();
            return if taken { Err(AdminError::AlreadyExists) } else { Ok(CreatedClient { client, secret: None }) };
        }
        let (credential, secret) = made::secret(&self.peppers, now)?;
        client.credentials.push(credential);
        let client = self.add(&client, &by.record(now, "CreateClient", client.id.as_str(), "")).await?;
        Ok(CreatedClient { client, secret: Some(secret) })
    }

    /// A client without credentials, as the draft says; of a new ID where it names none.
    pub(super) fn drafted(&self, draft: &ClientDraft, now: SystemTime) -> Result<Client, AdminError> {
        let id = if draft.client_id.is_empty() {
            made::client_id()?
        } else {
            client_id(&draft.client_id, "client.client_id")?
        };
        let mut client = Client::new(id, now);
        self.write(draft, &ClientField::ALL, &mut client)?;
        Ok(client)
    }

    /// Writes `fields` of the draft into the client, where all of them keep the rules.
    pub(super) fn write(
        &self,
        draft: &ClientDraft,
        fields: &[ClientField],
        client: &mut Client,
    ) -> Result<(), AdminError> {
        let mut check = Check::new(&self.rules);
        draft.write(fields, client, &mut check);
        check.finish()
    }

    /// Puts a new client into the store.
    pub(super) async fn add(&self, client: &Client, record: &AdminRecord) -> Result<Client, AdminError> {
        let client = self.store.create_client(client, Some(record)).await?;
        self.registry.forget(&client.id);
        Ok(client)
    }

    /// Reads one client.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], the store's.
    pub async fn get(&self, id: &str) -> Result<Client, AdminError> {
        self.store.client(&client_id(id, "client_id")?).await?.ok_or(AdminError::NotFound("client"))
    }

    /// Reads a page of clients. A size of 0 is 50, more than 1000 is 1000.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a negative size or a token that was not handed out here; the store's.
    pub async fn list(&self, page_size: i32, page_token: &str) -> Result<Page, AdminError> {
        let size = page::size(page_size)?;
        let after =
            page::after(QUESTION, page_token)?.map(|last| ClientId::try_from(last).map_err(|_| page::foreign()));
        let mut clients = self.store.clients(after.transpose()?.as_ref(), size + 1).await?;
        let next = page::cut(&mut clients, size).map(|last| page::token(QUESTION, last.id.as_str()));
        Ok(Page { next_page_token: next.unwrap_or_default(), clients })
    }

    /// Changes a client. AIP-134.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::NotFound`], [`AdminError::EtagMismatch`],
    /// [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn update(&self, by: &Operator, update: &ClientUpdate) -> Result<Client, AdminError> {
        let ClientUpdate { draft, fields, etag, validate_only } = update;
        let id = client_id(&draft.client_id, "client.client_id")?;
        let edit = Edit { by, action: "UpdateClient", etag, validate_only: *validate_only };
        let (client, ()) = self
            .change(&id, &edit, |client, _| {
                self.write(draft, fields, client)?;
                if fields.contains(&ClientField::Grants)
                    && let Some(registration) = &mut client.registration
                {
                    registration.grants_set_by_operator = true;
                }
                let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
                Ok(((), names.join(" ")))
            })
            .await?;
        Ok(client)
    }

    /// Removes a client and its credentials, where `etag` is empty or still the current one. Its tokens are
    /// good until they expire.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::EtagMismatch`], the store's.
    pub async fn delete(&self, by: &Operator, id: &str, etag: &str) -> Result<(), AdminError> {
        let id = client_id(id, "client_id")?;
        let revision = if etag.is_empty() { None } else { Some(revision_of(etag)?) };
        self.remove(&id, revision, &by.record(self.clock.now(), "DeleteClient", id.as_str(), "")).await
    }

    /// Takes a client out of the store; with `revision`, only at that one.
    pub(super) async fn remove(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        record: &AdminRecord,
    ) -> Result<(), AdminError> {
        self.store.delete_client(id, revision, Some(record)).await?;
        self.registry.forget(id);
        Ok(())
    }

    /// Takes a client out of the store as long as `expect` finds no fault with what is stored; looked at again, where
    /// somebody else was faster.
    pub(super) async fn remove_where(
        &self,
        id: &ClientId,
        record: &AdminRecord,
        expect: impl Fn(&Client) -> Result<(), AdminError> + Send + Sync,
    ) -> Result<(), AdminError> {
        for _ in 0..ATTEMPTS {
            let client = self.store.client(id).await?.ok_or(AdminError::NotFound("client"))?;
            expect(&client)?;
            match self.remove(id, Some(client.revision), record).await {
                Err(AdminError::EtagMismatch) => {}
                removed => return removed,
            }
        }
        Err(AdminError::EtagMismatch)
    }

    /// Reads a client, edits it and stores it; again, where somebody else was faster and no etag forbids it.
    /// `edit` returns what the caller is after, and what the audit says beside the action.
    pub(super) async fn change<T>(
        &self,
        id: &ClientId,
        how: &Edit<'_>,
        edit: impl Fn(&mut Client, SystemTime) -> Result<(T, String), AdminError> + Send + Sync,
    ) -> Result<(Client, T), AdminError> {
        let expected = if how.etag.is_empty() { None } else { Some(revision_of(how.etag)?) };
        for _ in 0..ATTEMPTS {
            let mut client = self.store.client(id).await?.ok_or(AdminError::NotFound("client"))?;
            if expected.is_some_and(|revision| revision != client.revision) {
                return Err(AdminError::EtagMismatch);
            }
            let before = client.clone();
            let now = timestamp::stored(self.clock.now());
            let (result, detail) = edit(&mut client, now)?;
            how.by.expect_may_change(&before, &client)?;
            if how.validate_only {
                return Ok((client, result));
            }
            client.update_time = now;
            let record: AdminRecord = how.by.record(now, how.action, id.as_str(), detail);
            match self.store.update_client(&client, Some(&record)).await {
                Ok(client) => {
                    self.registry.forget(id);
                    return Ok((client, result));
                }
                Err(StoreError::RevisionMismatch) if expected.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AdminError::EtagMismatch)
    }
}

/// What is no etag of ours is not the current one.
fn revision_of(etag: &str) -> Result<u64, AdminError> {
    u64::from_str_radix(etag, 16).map_err(|_| AdminError::EtagMismatch)
}

pub(super) fn client_id(text: &str, field: &str) -> Result<ClientId, AdminError> {
    ClientId::try_from(text).map_err(|error| AdminError::invalid(field, error.to_string()))
}

impl fmt::Debug for ClientAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientAdmin")
            .field("peppers", &self.peppers)
            .field("rules", &self.rules)
            .finish_non_exhaustive()
    }
}
