//! A store in memory, which passes the contract suite of every store.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use token_interceptor::clock::{Clock as _, SystemClock};
use tokio::sync::Notify;

use crate::{
    client::{Client, ClientId, SubjectMatch},
    store::{
        AdminAuditStore, AdminRecord, AdminRecordFilter, AssertionStore, Change, ChangeKind, ChangeLog, ClientStore,
        CredentialUse, KeyStore, KeyTable, LIFETIME_MARGIN, LogPage, Revocation, RevocationStore, RevocationTarget,
        Store, StoreError,
    },
};

/// A store in memory, for tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tables: Mutex<Tables>,
    committed: Notify,
}

/// One lock over everything, so that a change and its record are one step.
#[derive(Clone, Debug, Default)]
struct Tables {
    closed: bool,
    clients: BTreeMap<ClientId, Client>,
    keys: KeyTable,
    revocations: BTreeMap<(&'static str, String), Revocation>,
    /// By lifetime, the last time at which it was configured.
    lifetimes: BTreeMap<Duration, SystemTime>,
    assertions: BTreeMap<[u8; 32], SystemTime>,
    changes: Vec<Change>,
    last_change: u64,
    records: Vec<AdminRecord>,
    deleted: BTreeSet<ClientId>,
}

impl MemoryStore {
    /// Returns an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Tables>, StoreError> {
        let tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if tables.closed { Err(StoreError::unavailable("the store is closed")) } else { Ok(tables) }
    }

    /// Applies a change and its record, or neither.
    fn change<T>(
        &self,
        audit: Option<&AdminRecord>,
        change: impl FnOnce(&mut Tables) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tables = self.open()?;
        let mut next = tables.clone();
        let answer = change(&mut next)?;
        if let Some(record) = audit {
            if let Some(revocation) = &record.revokes {
                next.revoke(revocation);
            }
            next.records.push(record.clone());
        }
        *tables = next;
        self.committed.notify_one();
        Ok(answer)
    }
}

impl Tables {
    fn log(&mut self, kind: ChangeKind) -> u64 {
        self.last_change += 1;
        let (sequence, mark) = (self.last_change, format!("mark-{}", self.last_change));
        self.changes.push(Change { sequence, time: SystemClock.now(), mark, kind: Some(kind) });
        sequence
    }

    fn insert(&mut self, client: &Client, on_record: bool) -> Result<Client, StoreError> {
        if self.clients.contains_key(&client.id) || on_record && self.deleted.contains(&client.id) {
            return Err(StoreError::AlreadyExists);
        }
        Ok(self.put(client))
    }

    fn put(&mut self, client: &Client) -> Client {
        let revision = self.log(ChangeKind::Client(client.id.clone()));
        let mut client = Client { revision, ..client.clone() };
        // The store keeps the last use beside the credential, and ignores the value of the caller.
        let known = self.clients.get(&client.id).map_or(&[] as &[_], |known| &known.credentials);
        for credential in &mut client.credentials {
            let before = known.iter().find(|before| before.id == credential.id);
            credential.last_used_time = before.and_then(|before| before.last_used_time);
        }
        self.clients.insert(client.id.clone(), client.clone());
        client
    }

    fn at_revision(&self, id: &ClientId, revision: Option<u64>) -> Result<&Client, StoreError> {
        let client = self.clients.get(id).ok_or(StoreError::NotFound)?;
        if revision.is_some_and(|revision| revision != client.revision) {
            return Err(StoreError::RevisionMismatch);
        }
        Ok(client)
    }

    fn revoke(&mut self, revocation: &Revocation) {
        self.log(ChangeKind::Revocation(revocation.target.clone()));
        let stored = self.revocations.entry(columns(&revocation.target)).or_insert_with(|| revocation.clone());
        stored.revoked_before = stored.revoked_before.max(revocation.revoked_before);
        stored.forget_time = stored.forget_time.max(revocation.forget_time);
    }
}

/// The order of targets in the databases.
fn columns(target: &RevocationTarget) -> (&'static str, String) {
    match target {
        RevocationTarget::Client(id) => ("client", id.as_str().to_owned()),
        RevocationTarget::TokenId(id) => ("token", id.clone()),
    }
}

#[async_trait]
impl ClientStore for MemoryStore {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        Ok(self.open()?.clients.get(id).cloned())
    }

    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError> {
        let tables = self.open()?;
        let keys = SubjectMatch::keys_of(subject);
        let fits = |client: &&Client| {
            let mut rules = client.federated_identities();
            rules.any(|rule| rule.issuer == issuer && keys.contains(&rule.subject.key()))
        };
        let found = tables.clients.values().filter(fits).map(|client| client.id.clone());
        Ok(found.take(usize::try_from(limit).unwrap_or(usize::MAX)).collect())
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        let tables = self.open()?;
        let clients = tables.clients.values().filter(|client| after.is_none_or(|after| client.id > *after));
        Ok(clients.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect())
    }

    async fn expect_free(&self, id: &ClientId) -> Result<(), StoreError> {
        let tables = self.open()?;
        let taken = tables.clients.contains_key(id) || tables.deleted.contains(id);
        if taken { Err(StoreError::AlreadyExists) } else { Ok(()) }
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.change(audit, |tables| tables.insert(client, audit.is_some()))
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        let initial = |client: &Client| client.registration.as_ref().map(|known| known.details.registered_with.clone());
        let wanted = initial(client);
        let registered = self.open()?.clients.values().filter(|known| initial(known) == wanted).count();
        if u64::try_from(registered).unwrap_or(u64::MAX) >= clients_max {
            return Ok(None);
        }
        self.change(Some(audit), |tables| tables.insert(client, true)).map(Some)
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.change(audit, |tables| {
            let before = tables.at_revision(&client.id, Some(client.revision))?.credentials.clone();
            let mut client = client.clone();
            // The uses belong to the credentials that stay.
            for credential in &mut client.credentials {
                let known = before.iter().find(|known| known.id == credential.id);
                credential.last_used_time = known.and_then(|known| known.last_used_time);
            }
            Ok(tables.put(&client))
        })
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        self.change(audit, |tables| {
            tables.at_revision(id, revision)?;
            tables.log(ChangeKind::Client(id.clone()));
            tables.clients.remove(id);
            if audit.is_some() {
                tables.deleted.insert(id.clone());
            }
            Ok(())
        })
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        let mut tables = self.open()?;
        for used in uses {
            let client = tables.clients.get_mut(&used.client_id);
            let credentials = client.into_iter().flat_map(|client| &mut client.credentials);
            for credential in credentials.filter(|credential| credential.id == used.credential_id) {
                credential.last_used_time = credential.last_used_time.max(Some(used.time));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        Ok(self.open()?.keys.clone())
    }

    async fn replace_keys(&self, table: &KeyTable, audit: Option<&AdminRecord>) -> Result<u64, StoreError> {
        self.change(audit, |tables| {
            if tables.keys.version != table.version {
                return Err(StoreError::RevisionMismatch);
            }
            tables.log(ChangeKind::Keys);
            tables.keys = KeyTable { version: table.version + 1, keys: table.keys.clone() };
            tables.keys.keys.sort_by(|left, right| left.key_id.cmp(&right.key_id));
            Ok(tables.keys.version)
        })
    }
}

#[async_trait]
impl RevocationStore for MemoryStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.change(audit, |tables| {
            tables.revoke(revocation);
            Ok(())
        })
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        let tables = self.open()?;
        Ok(tables.revocations.values().filter(|revocation| revocation.forget_time > now).cloned().collect())
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        Ok(self.open()?.revocations.get(&columns(target)).cloned())
    }

    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError> {
        Ok(purge(&mut self.open()?.revocations, |revocation| revocation.forget_time > now))
    }

    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError> {
        let mut tables = self.open()?;
        let last = tables.lifetimes.entry(configured).or_insert(now);
        *last = now.max(*last);
        let live = tables.lifetimes.iter().filter(|(lifetime, last)| **last + **lifetime + LIFETIME_MARGIN > now);
        Ok(live.map(|(lifetime, _)| *lifetime).max().unwrap_or(configured).max(configured))
    }
}

#[async_trait]
impl AssertionStore for MemoryStore {
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError> {
        let mut tables = self.open()?;
        let first = !tables.assertions.contains_key(hash);
        if first {
            tables.assertions.insert(*hash, forget_time);
        }
        Ok(first)
    }

    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError> {
        Ok(purge(&mut self.open()?.assertions, |forget_time| *forget_time > now))
    }
}

/// Removes the entries that `keep` rejects, and returns their number.
fn purge<K: Ord, V>(table: &mut BTreeMap<K, V>, keep: impl Fn(&V) -> bool) -> u64 {
    let before = table.len();
    table.retain(|_, value| keep(value));
    u64::try_from(before - table.len()).unwrap_or(u64::MAX)
}

#[async_trait]
impl ChangeLog for MemoryStore {
    async fn last_change(&self) -> Result<u64, StoreError> {
        Ok(self.open()?.last_change)
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        let tables = self.open()?;
        let changes = tables.changes.iter().filter(|change| change.sequence >= sequence);
        let changes = changes.take(usize::try_from(limit).unwrap_or(usize::MAX)).cloned().collect();
        Ok(LogPage { epoch: "memory".to_owned(), changes })
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        let mut tables = self.open()?;
        let (before, last, now) = (tables.changes.len(), tables.last_change, SystemClock.now());
        tables.changes.retain(|change| change.time + age > now || change.sequence == last);
        Ok(u64::try_from(before - tables.changes.len()).unwrap_or(u64::MAX))
    }

    async fn changed(&self) {
        self.committed.notified().await;
    }
}

#[async_trait]
impl AdminAuditStore for MemoryStore {
    async fn admin_records(
        &self,
        filter: &AdminRecordFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError> {
        let tables = self.open()?;
        let fits = |wanted: &Option<String>, text: &str| wanted.as_deref().is_none_or(|wanted| wanted == text);
        let found = (1..).zip(&tables.records).filter(|(number, record)| {
            before.is_none_or(|before| *number < before)
                && fits(&filter.actor, &record.actor)
                && fits(&filter.action, &record.action)
                && fits(&filter.resource, &record.resource)
                && filter.from.is_none_or(|from| record.time >= from)
                && filter.until.is_none_or(|until| record.time < until)
        });
        let mut found: Vec<(u64, AdminRecord)> = found.map(|(number, record)| (number, record.clone())).collect();
        found.reverse();
        found.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        // As the databases keep it: the revocation is in its own table.
        found.iter_mut().for_each(|(_, record)| record.revokes = None);
        Ok(found)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn close(&self) {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}
