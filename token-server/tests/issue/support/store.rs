//! A store in memory that counts its calls, and can be unreachable.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use token_issuer::{
    client::{Client, ClientId},
    store::{
        AdminAuditStore, AdminRecord, AdminRecordFilter, AssertionStore, ChangeLog, ClientStore, CredentialUse,
        KeyStore, KeyTable, LogPage, Revocation, RevocationStore, RevocationTarget, Store, StoreError,
    },
};

#[derive(Debug)]
pub(crate) struct MemoryStore {
    clients: Mutex<BTreeMap<ClientId, Client>>,
    writes: AtomicUsize,
    reads: AtomicUsize,
    out_of_reach: AtomicBool,
    revocations: Mutex<BTreeMap<RevocationTarget, Revocation>>,
    assertions: Mutex<BTreeSet<[u8; 32]>>,
    records: Mutex<Vec<AdminRecord>>,
}

impl MemoryStore {
    pub(crate) fn new(clients: Vec<Client>) -> Self {
        Self {
            clients: Mutex::new(clients.into_iter().map(|client| (client.id.clone(), client)).collect()),
            writes: AtomicUsize::new(0),
            reads: AtomicUsize::new(0),
            out_of_reach: AtomicBool::new(false),
            revocations: Mutex::default(),
            assertions: Mutex::default(),
            records: Mutex::default(),
        }
    }

    /// Returns the admin audit records stored with the changes.
    pub(crate) fn records(&self) -> Vec<AdminRecord> {
        self.records.lock().unwrap().clone()
    }

    /// Changes a client without notice to the caches.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Client)) {
        change(self.clients.lock().unwrap().get_mut(id).unwrap());
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

    /// Keeps the record of a change, and the revocation that is part of it.
    fn note(&self, audit: Option<&AdminRecord>) {
        self.records.lock().unwrap().extend(audit.cloned());
        let revocations = audit.and_then(|record| record.revokes.clone()).into_iter();
        self.revocations.lock().unwrap().extend(revocations.map(|revoked| (revoked.target.clone(), revoked)));
    }

    fn read<T>(&self, answer: T) -> Result<T, StoreError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.reach(answer)
    }

    fn write<T>(&self, answer: T) -> Result<T, StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.reach(answer)
    }

    fn reach<T>(&self, answer: T) -> Result<T, StoreError> {
        if self.out_of_reach.load(Ordering::Relaxed) {
            return Err(StoreError::unavailable("the disk is gone: /secret/path"));
        }
        Ok(answer)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn close(&self) {}
}

#[async_trait]
impl ClientStore for MemoryStore {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.read(self.clients.lock().unwrap().get(id).cloned())
    }

    async fn clients(&self, _: Option<&ClientId>, _: u32) -> Result<Vec<Client>, StoreError> {
        self.read(self.clients.lock().unwrap().values().cloned().collect())
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.write(())?;
        let client = Client { revision: 1, ..client.clone() };
        self.clients.lock().unwrap().insert(client.id.clone(), client.clone());
        self.note(audit);
        Ok(client)
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        let initial = |client: &Client| client.registration.as_ref().map(|known| known.details.registered_with.clone());
        let wanted = initial(client);
        let registered = self.clients.lock().unwrap().values().filter(|known| initial(known) == wanted).count();
        if u64::try_from(registered).unwrap() >= clients_max {
            return Ok(None);
        }
        self.create_client(client, Some(audit)).await.map(Some)
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.write(())?;
        let mut clients = self.clients.lock().unwrap();
        let known = clients.get_mut(&client.id).ok_or(StoreError::NotFound)?;
        if known.revision != client.revision {
            return Err(StoreError::RevisionMismatch);
        }
        *known = Client { revision: client.revision + 1, ..client.clone() };
        self.note(audit);
        Ok(known.clone())
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        _: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        self.write(())?;
        self.clients.lock().unwrap().remove(id).ok_or(StoreError::NotFound)?;
        self.note(audit);
        Ok(())
    }

    async fn credentials_used(&self, _: &[CredentialUse]) -> Result<(), StoreError> {
        self.write(())
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        self.read(KeyTable::default())
    }

    async fn replace_keys(&self, table: &KeyTable, _: Option<&AdminRecord>) -> Result<u64, StoreError> {
        self.write(table.version + 1)
    }
}

#[async_trait]
impl RevocationStore for MemoryStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.write(())?;
        self.note(audit);
        self.revocations.lock().unwrap().insert(revocation.target.clone(), revocation.clone());
        Ok(())
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        let revocations = self.revocations.lock().unwrap();
        self.read(revocations.values().filter(|revocation| revocation.forget_time > now).cloned().collect())
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        self.read(self.revocations.lock().unwrap().get(target).cloned())
    }

    async fn purge_revocations(&self, _: SystemTime) -> Result<u64, StoreError> {
        self.write(0)
    }

    async fn longest_lifetime(&self, configured: Duration, _: SystemTime) -> Result<Duration, StoreError> {
        self.reach(configured)
    }
}

#[async_trait]
impl AssertionStore for MemoryStore {
    async fn use_assertion(&self, hash: &[u8; 32], _: SystemTime) -> Result<bool, StoreError> {
        self.reach(())?;
        Ok(self.assertions.lock().unwrap().insert(*hash))
    }

    async fn purge_assertions(&self, _: SystemTime) -> Result<u64, StoreError> {
        self.reach(0)
    }
}

#[async_trait]
impl ChangeLog for MemoryStore {
    async fn last_change(&self) -> Result<u64, StoreError> {
        self.read(0)
    }

    async fn changes_from(&self, _: u64, _: u32) -> Result<LogPage, StoreError> {
        self.read(LogPage { epoch: String::new(), changes: Vec::new() })
    }

    async fn purge_changes(&self, _: Duration) -> Result<u64, StoreError> {
        self.write(0)
    }

    async fn changed(&self) {
        std::future::pending().await
    }
}

#[async_trait]
impl AdminAuditStore for MemoryStore {
    async fn admin_records(
        &self,
        _: &AdminRecordFilter,
        _: Option<u64>,
        _: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError> {
        self.read(Vec::new())
    }
}
