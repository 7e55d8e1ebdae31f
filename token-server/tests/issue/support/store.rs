//! A store in memory that counts its calls, and can be unreachable.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use token_issuer::{
    client::{Client, ClientId},
    store::{
        AdminAuditStore as _, AdminRecord, AdminRecordFilter, AssertionStore, ClientStore, CredentialUse, Revocation,
        RevocationStore, RevocationTarget, StoreError,
    },
    test_util::MemoryStore,
};

#[derive(Debug, Default)]
pub(crate) struct CountingStore {
    inner: MemoryStore,
    writes: AtomicUsize,
    reads: AtomicUsize,
    out_of_reach: AtomicBool,
}

impl CountingStore {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        let store = Self::default();
        for client in clients {
            at_once(store.inner.create_client(&client, None)).unwrap();
        }
        store
    }

    /// Returns the admin audit records stored with the changes, the oldest first.
    pub(crate) fn records(&self) -> Vec<AdminRecord> {
        let records = at_once(self.inner.admin_records(&AdminRecordFilter::default(), None, u32::MAX)).unwrap();
        records.into_iter().rev().map(|(_, record)| record).collect()
    }

    /// Changes a client without notice to the caches.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Client)) {
        let mut client = at_once(self.inner.client(&ClientId::try_from(id).unwrap())).unwrap().unwrap();
        change(&mut client);
        at_once(self.inner.update_client(&client, None)).unwrap();
    }

    pub(crate) fn writes(&self) -> usize {
        self.writes.load(Ordering::Relaxed)
    }

    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }

    pub(crate) fn set_out_of_reach(&self, out_of_reach: bool) {
        self.out_of_reach.store(out_of_reach, Ordering::Relaxed);
    }

    fn read(&self) -> Result<&MemoryStore, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.reach()
    }

    fn write(&self) -> Result<&MemoryStore, StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.reach()
    }

    fn reach(&self) -> Result<&MemoryStore, StoreError> {
        if self.out_of_reach.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("the disk is gone: /secret/path"));
        }
        Ok(&self.inner)
    }
}

/// The store in memory never waits.
fn at_once<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().unwrap()
}

#[async_trait]
impl ClientStore for CountingStore {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.read()?.client(id).await
    }

    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError> {
        self.read()?.federated_clients(issuer, subject, limit).await
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        self.read()?.clients(after, limit).await
    }

    async fn expect_free(&self, id: &ClientId) -> Result<(), StoreError> {
        self.read()?.expect_free(id).await
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.write()?.create_client(client, audit).await
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        self.write()?.register_client(client, clients_max, audit).await
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.write()?.update_client(client, audit).await
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        self.write()?.delete_client(id, revision, audit).await
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        self.write()?.credentials_used(uses).await
    }
}

#[async_trait]
impl RevocationStore for CountingStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.write()?.revoke(revocation, audit).await
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        self.read()?.revocations(now).await
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        self.read()?.revocation(target).await
    }

    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError> {
        self.write()?.purge_revocations(now).await
    }

    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError> {
        self.reach()?.longest_lifetime(configured, now).await
    }
}

#[async_trait]
impl AssertionStore for CountingStore {
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError> {
        self.reach()?.use_assertion(hash, forget_time).await
    }

    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError> {
        self.reach()?.purge_assertions(now).await
    }
}
