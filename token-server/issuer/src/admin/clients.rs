//! Operations on clients: register, read, change, remove.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use token_interceptor::clock::Clock;

use super::{
    AddedCredential, AdminError, ClientDraft, ClientField, NewCredential, Operator, RevocationAdmin, check::Check,
    generate, page,
};
use crate::{
    client::{
        Client, ClientId, FederatedIdentity, FederatedIdentityError,
        secret::{ClientSecret, Peppers},
    },
    client_registry::ClientRegistry,
    identity_provider::{IdentityProvider, Namespace, Platform},
    store::{AdminRecord, ClientStore, StoreError},
    timestamp,
};

/// The number of attempts at a change without an etag when another writer was faster.
const ATTEMPTS: u32 = 5;

/// The query that a page token of the client list belongs to.
const QUESTION: &str = "clients";

/// The limits that the server sets for every client.
#[derive(Clone, Debug)]
pub struct AdminRules {
    /// The longest lifetime of a client's tokens.
    pub token_lifetime_max: Duration,
    /// The namespaces of identity providers' subjects, which no client ID may be in.
    pub foreign_names: Vec<Namespace>,
    /// The issuers whose tokens are accepted as client assertions, with their platforms.
    pub assertion_issuers: BTreeMap<String, Option<Platform>>,
}

/// Prefixes that stand for other actors in the audit.
const RESERVED_STARTS: [&str; 2] = ["local:", "registration:"];
/// The most issuers that an error names.
const ISSUERS_NAMED: usize = 8;
/// The number of attempts to generate an allowed ID. Only a namespace of one character needs many.
const GENERATED_MAX: u32 = 64;

impl AdminRules {
    /// Creates the rules of a server that trusts these issuers.
    #[must_use]
    pub fn trusting<'i>(token_lifetime_max: Duration, issuers: impl IntoIterator<Item = &'i IdentityProvider>) -> Self {
        let mut rules = Self::new(token_lifetime_max);
        for issuer in issuers {
            rules.foreign_names.extend(issuer.exchange.as_ref().map(|exchange| exchange.namespace.clone()));
            if issuer.client_authentication.is_some() {
                rules.assertion_issuers.insert(issuer.issuer.clone(), issuer.platform);
            }
        }
        rules
    }

    /// Creates the rules of a server that trusts no other issuer.
    #[must_use]
    pub const fn new(token_lifetime_max: Duration) -> Self {
        Self { token_lifetime_max, foreign_names: Vec::new(), assertion_issuers: BTreeMap::new() }
    }

    /// Rejects an ID that is in the namespace of an identity provider's subjects.
    pub(super) fn check_name(&self, id: &ClientId) -> Result<(), AdminError> {
        if self.foreign_names.iter().any(|names| names.covers(id.as_str())) {
            let rule = "it is a name of an identity provider's subjects (trusted_issuer.token_exchange)";
            return Err(AdminError::invalid("client.client_id", rule));
        }
        Ok(())
    }

    /// Checks a federated identity: its form, that an operator trusts its issuer, and that its platform calls
    /// it safe. A rule for any other issuer would never be met.
    ///
    /// # Errors
    ///
    /// The first rule that is broken. An unknown issuer is compared byte for byte, so the text names the
    /// known ones: one of them may differ in a final `/`.
    pub fn check_identity(&self, identity: &FederatedIdentity) -> Result<(), FederatedIdentityError> {
        identity.check()?;
        match self.assertion_issuers.get(&identity.issuer) {
            Some(Some(platform)) => return platform.check_rule(identity),
            Some(None) => return Ok(()),
            None => {}
        }
        let known: Vec<&String> = self.assertion_issuers.keys().take(ISSUERS_NAMED).collect();
        let rule = format!(
            "{:?} is not exactly the issuer of a [[trusted_issuer]] with [trusted_issuer.client_authentication]: \
             {known:?}",
            identity.issuer
        );
        Err(FederatedIdentityError { field: "issuer", rule })
    }

    /// Rejects an ID that a new client may not have.
    pub(super) fn check_new_name(&self, id: &ClientId) -> Result<(), AdminError> {
        self.check_name(id)?;
        if RESERVED_STARTS.iter().any(|start| id.as_str().starts_with(start)) {
            let rule = "\"local:\" and \"registration:\" are reserved for other actors in the audit";
            return Err(AdminError::invalid("client.client_id", rule));
        }
        Ok(())
    }
}

/// Access to the clients for operators. Cheap to clone.
#[derive(Clone)]
pub struct ClientAdmin {
    pub(super) store: Arc<dyn ClientStore>,
    pub(super) registry: ClientRegistry,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) rules: AdminRules,
    /// Revokes the tokens of a client together with the client.
    revocations: Option<RevocationAdmin>,
}

/// A client that was registered, with its first secret.
#[derive(Debug)]
pub struct CreatedClient {
    /// The stored client.
    pub client: Client,
    /// The secret, shown once. Absent if the first credential is of another kind, or the request was only
    /// checked.
    pub secret: Option<ClientSecret>,
}

/// One page of clients.
#[derive(Debug)]
pub struct Page {
    /// The clients, in the order of their IDs.
    pub clients: Vec<Client>,
    /// The token that requests the next page; empty on the last page.
    pub next_page_token: String,
}

/// A change to a client.
#[derive(Clone, Debug, Default)]
pub struct ClientUpdate {
    /// The client and its wanted state.
    pub draft: ClientDraft,
    /// The fields to change; all others stay.
    pub fields: Vec<ClientField>,
    /// If not empty, the client must still match this etag.
    pub etag: String,
    /// Checks the request and changes nothing.
    pub validate_only: bool,
    /// Disables the client and leaves its tokens valid until they expire.
    pub keep_tokens: bool,
}

/// The conditions under which a client is edited.
pub(super) struct Edit<'a> {
    pub(super) by: &'a Operator,
    pub(super) action: &'static str,
    /// If not empty, the client must still match this etag.
    pub(super) etag: &'a str,
    pub(super) validate_only: bool,
    /// If the client is disabled, its tokens stay valid.
    pub(super) keep_tokens: bool,
    /// Revokes the client's tokens, regardless of the change.
    pub(super) revoke_tokens: bool,
}

impl<'a> Edit<'a> {
    pub(super) const fn new(by: &'a Operator, action: &'static str) -> Self {
        Self { by, action, etag: "", validate_only: false, keep_tokens: false, revoke_tokens: false }
    }
}

impl ClientAdmin {
    /// Creates a `ClientAdmin`. Every change reaches `registry` before the operator's response.
    #[must_use]
    pub fn new(
        store: Arc<dyn ClientStore>,
        registry: ClientRegistry,
        peppers: Peppers,
        clock: Arc<dyn Clock>,
        rules: AdminRules,
    ) -> Self {
        Self { store, registry, peppers, clock, rules, revocations: None }
    }

    /// Revokes a client's tokens when the client is disabled or deleted.
    #[must_use]
    pub fn revoking(mut self, revocations: RevocationAdmin) -> Self {
        self.revocations = Some(revocations);
        self
    }

    /// Registers a client with its first credential. If the ID is empty, it is generated.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`], [`AdminError::AlreadyExists`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn create(
        &self,
        by: &Operator,
        draft: &ClientDraft,
        first: &NewCredential,
        validate_only: bool,
    ) -> Result<CreatedClient, AdminError> {
        let now = timestamp::stored(self.clock.now());
        let mut client = self.drafted(draft, now)?;
        by.expect_may_hand_out(&client)?;
        let AddedCredential { credential, secret } = self.make(first, now)?;
        if validate_only {
            self.store.expect_free(&client.id).await?;
            return Ok(CreatedClient { client, secret: None });
        }
        client.credentials.push(credential);
        let client = self.add(&client, &by.record(now, "CreateClient", client.id.as_str(), "")).await?;
        Ok(CreatedClient { client, secret })
    }

    /// Returns the draft as a client without credentials. If the draft names no ID, it is generated.
    pub(super) fn drafted(&self, draft: &ClientDraft, now: SystemTime) -> Result<Client, AdminError> {
        let id = if draft.client_id.is_empty() {
            self.generated_id()?
        } else {
            client_id(&draft.client_id, "client.client_id")?
        };
        self.rules.check_new_name(&id)?;
        let mut client = Client::new(id, now);
        self.write(draft, &ClientField::ALL, &mut client)?;
        Ok(client)
    }

    fn generated_id(&self) -> Result<ClientId, AdminError> {
        let mut id = generate::client_id()?;
        for _ in 0..GENERATED_MAX {
            if self.rules.check_new_name(&id).is_ok() {
                break;
            }
            id = generate::client_id()?;
        }
        Ok(id)
    }

    /// Writes `fields` of the draft into the client, if all of them keep the rules.
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

    /// Adds a new client to the store.
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

    /// Reads a page of clients. A size of 0 means 50, and the maximum is 1000.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a negative size or an unknown page token; the store's.
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
        let ClientUpdate { draft, fields, etag, validate_only, keep_tokens } = update;
        let id = client_id(&draft.client_id, "client.client_id")?;
        let (validate_only, keep_tokens) = (*validate_only, *keep_tokens);
        let edit = Edit { etag, validate_only, keep_tokens, ..Edit::new(by, "UpdateClient") };
        let (client, ()) = self
            .change(&id, &edit, |client, _| {
                self.write(draft, fields, client)?;
                let names: Vec<_> = fields.iter().map(|field| field.name()).collect();
                if let Some(registration) = &mut client.registration {
                    registration.set_by_operator.extend(names.iter().map(|name| (*name).to_owned()));
                }
                Ok(((), names.join(" ")))
            })
            .await?;
        Ok(client)
    }

    /// Removes a client and its credentials, if `etag` is empty or current. Revokes its tokens unless
    /// `keep_tokens` is set.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`], [`AdminError::EtagMismatch`], [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn delete(&self, by: &Operator, id: &str, etag: &str, keep_tokens: bool) -> Result<(), AdminError> {
        let id = client_id(id, "client_id")?;
        let revision = if etag.is_empty() { None } else { Some(revision_of(etag)?) };
        let mut record = by.record(self.clock.now(), "DeleteClient", id.as_str(), "");
        if !keep_tokens {
            self.revoke_with(&mut record, &id).await?;
        }
        self.remove_where(&id, &record, |client| {
            if revision.is_some_and(|revision| revision != client.revision) {
                return Err(AdminError::EtagMismatch);
            }
            by.expect_may_hand_out(client)
        })
        .await
    }

    /// Rejects an operator who may not revoke the client's tokens. An operator cannot end the tokens of a
    /// client that has more admin scopes. A deleted client has none.
    ///
    /// # Errors
    ///
    /// [`AdminError::BeyondOwnScopes`], the store's.
    pub async fn check_may_revoke(&self, by: &Operator, id: &str) -> Result<(), AdminError> {
        match self.store.client(&client_id(id, "client_id")?).await? {
            Some(client) => by.expect_may_hand_out(&client),
            None => Ok(()),
        }
    }

    /// Adds the revocation of all of the client's tokens to the change.
    pub(super) async fn revoke_with(&self, record: &mut AdminRecord, id: &ClientId) -> Result<(), AdminError> {
        if let Some(revocations) = &self.revocations {
            record.revokes = Some(revocations.of_client(id, self.clock.now()).await?);
            record.detail = format!("{} tokens revoked", record.detail).trim_start().to_owned();
        }
        Ok(())
    }

    /// Applies a stored change in this process.
    fn changed(&self, id: &ClientId, record: &AdminRecord) {
        self.registry.forget(id);
        if let (Some(revocations), Some(revocation)) = (&self.revocations, &record.revokes) {
            revocations.stored(revocation.clone());
        }
    }

    /// Removes a client from the store; with `revision`, only at that revision.
    pub(super) async fn remove(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        record: &AdminRecord,
    ) -> Result<(), AdminError> {
        self.store.delete_client(id, revision, Some(record)).await?;
        self.changed(id, record);
        Ok(())
    }

    /// Removes a client from the store if `expect` accepts the stored state. Retries when another writer was
    /// faster.
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

    /// Reads a client, edits it and stores it. Retries when another writer was faster and no etag forbids it.
    /// `edit` returns the caller's result and the audit details beside the action.
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
            if !client.disabled {
                self.rules.check_name(id)?;
            }
            if how.validate_only {
                return Ok((client, result));
            }
            client.update_time = now;
            let mut record: AdminRecord = how.by.record(now, how.action, id.as_str(), detail);
            let disabling = client.disabled && !before.disabled && !how.keep_tokens;
            if disabling || how.revoke_tokens {
                self.revoke_with(&mut record, id).await?;
            }
            match self.store.update_client(&client, Some(&record)).await {
                Ok(client) => {
                    self.changed(id, &record);
                    return Ok((client, result));
                }
                Err(StoreError::RevisionMismatch) if expected.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(AdminError::EtagMismatch)
    }
}

/// A malformed etag never matches the current one.
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
