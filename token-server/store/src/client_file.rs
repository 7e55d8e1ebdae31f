//! A store whose clients are declared in a file and cannot be changed here. Keys, revocations and the change
//! log are stored in the server's own database, or in memory.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use token_issuer::client::{Client, ClientId};
use token_issuer::store::{
    AdminAuditStore, AdminRecord, AdminRecordFilter, AssertionStore, ChangeLog, ClientStore, CredentialUse, KeyStore,
    KeyTable, LogPage, Revocation, RevocationStore, RevocationTarget, Store, StoreError,
};

use crate::sqlite::SqliteStore;

/// A store of read-only clients. All other data are in `state`.
#[derive(Debug)]
pub struct DeclaredStore {
    state: SqliteStore,
}

impl DeclaredStore {
    /// Creates the store with the clients that `state` already has.
    #[must_use]
    pub fn new(state: SqliteStore) -> Self {
        Self { state }
    }

    /// Replaces the clients by the declared ones, in one transaction. Returns the number of changed clients.
    /// With `lifetime_max`, the longest lifetime of a token that may be valid now, it revokes the tokens of
    /// clients that are removed or disabled.
    ///
    /// # Errors
    ///
    /// The errors of the state. Nothing has changed then.
    pub async fn declare(
        &self,
        clients: &[Client],
        now: SystemTime,
        lifetime_max: Option<Duration>,
    ) -> Result<usize, StoreError> {
        self.state.declare_clients(clients, now, lifetime_max).await
    }
}

#[async_trait]
impl ClientStore for DeclaredStore {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.state.client(id).await
    }

    async fn lookup(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.state.lookup(id).await
    }

    async fn clients_by_id(&self, ids: &[ClientId]) -> Result<Vec<Client>, StoreError> {
        self.state.clients_by_id(ids).await
    }

    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError> {
        self.state.federated_clients(issuer, subject, limit).await
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        self.state.clients(after, limit).await
    }

    async fn expect_free(&self, _: &ClientId) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn create_client(&self, _: &Client, _: Option<&AdminRecord>) -> Result<Client, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn register_client(&self, _: &Client, _: u64, _: &AdminRecord) -> Result<Option<Client>, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn update_client(&self, _: &Client, _: Option<&AdminRecord>) -> Result<Client, StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn delete_client(&self, _: &ClientId, _: Option<u64>, _: Option<&AdminRecord>) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        self.state.credentials_used(uses).await
    }
}

#[async_trait]
impl KeyStore for DeclaredStore {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        self.state.keys().await
    }

    async fn replace_keys(&self, table: &KeyTable, audit: Option<&AdminRecord>) -> Result<u64, StoreError> {
        self.state.replace_keys(table, audit).await
    }
}

#[async_trait]
impl RevocationStore for DeclaredStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.state.revoke(revocation, audit).await
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        self.state.revocations(now).await
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        self.state.revocation(target).await
    }

    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError> {
        self.state.purge_revocations(now).await
    }

    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError> {
        self.state.longest_lifetime(configured, now).await
    }
}

#[async_trait]
impl AssertionStore for DeclaredStore {
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError> {
        self.state.use_assertion(hash, forget_time).await
    }

    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError> {
        self.state.purge_assertions(now).await
    }
}

#[async_trait]
impl ChangeLog for DeclaredStore {
    async fn last_change(&self) -> Result<u64, StoreError> {
        self.state.last_change().await
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        self.state.changes_from(sequence, limit).await
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        self.state.purge_changes(age).await
    }

    async fn changed(&self) {
        self.state.changed().await;
    }
}

#[async_trait]
impl AdminAuditStore for DeclaredStore {
    async fn admin_records(
        &self,
        filter: &AdminRecordFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError> {
        self.state.admin_records(filter, before, limit).await
    }
}

#[async_trait]
impl Store for DeclaredStore {
    async fn close(&self) {
        self.state.close().await;
    }
}
