//! The state that must survive a restart: clients, sealed keys, revocations, and the change log. Tokens are
//! never stored.
//!
//! Each trait serves one kind of caller. The transaction of a change also writes a row of the change log, and
//! a row of the admin audit if the caller passes one. Neither can therefore be lost or invented. The
//! implementations pass one contract suite.

mod answered;
mod change;
#[cfg(test)]
pub(crate) mod faults;
mod record;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use async_trait::async_trait;

#[cfg(test)]
pub(crate) use answered::PATIENCE;
pub(crate) use answered::{answered, answered_within};
pub use change::{Change, ChangeKind, LogPage};
pub use record::{
    AdminRecord, AdminRecordFilter, CredentialUse, KeyTable, Revocation, RevocationTarget, SealedKey, StoredKey,
};

use crate::client::{Client, ClientId};

/// Clients and their credentials.
#[async_trait]
pub trait ClientStore: Send + Sync {
    /// Reads one client.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError>;

    /// Reads one client for a caller that is not authenticated yet. The read costs the same if the client
    /// does not exist, and uses connections of its own. It does not read when the credentials were last used.
    ///
    /// # Errors
    ///
    /// As [`ClientStore::client`]; [`StoreError::Busy`].
    async fn lookup(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.client(id).await
    }

    /// Reads those clients of `ids` that exist, in any order, otherwise as [`ClientStore::lookup`].
    ///
    /// # Errors
    ///
    /// As [`ClientStore::client`].
    async fn clients_by_id(&self, ids: &[ClientId]) -> Result<Vec<Client>, StoreError> {
        let mut clients = Vec::new();
        for id in ids {
            clients.extend(self.lookup(id).await?);
        }
        Ok(clients)
    }

    /// Returns the IDs of at most `limit` clients with a federated identity of `issuer` that can accept
    /// `subject`, in order. The cost does not grow with the number of clients. Expired credentials count too.
    ///
    /// # Errors
    ///
    /// As [`ClientStore::lookup`].
    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError>;

    /// Reads at most `limit` clients in the order of their IDs, beginning after `after`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError>;

    /// Checks that [`ClientStore::create_client`] would accept the ID for an audited change.
    ///
    /// # Errors
    ///
    /// As [`ClientStore::create_client`].
    async fn expect_free(&self, id: &ClientId) -> Result<(), StoreError> {
        if self.client(id).await?.is_some() { Err(StoreError::AlreadyExists) } else { Ok(()) }
    }

    /// Adds a client, and returns it with its first revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when a client has the ID. For an audited change, also when the audit
    /// shows that a client with the ID was deleted.
    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError>;

    /// Adds a client that registers itself, as [`ClientStore::create_client`]. Returns `None` if
    /// `clients_max` clients have registered with the same initial access token.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when the ID is taken.
    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError>;

    /// Replaces the client whose revision is `client.revision`, and returns it with its new revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::RevisionMismatch`] when it has changed since it was read.
    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError>;

    /// Removes a client; with `revision`, only at that revision.
    ///
    /// # Errors
    ///
    /// [`StoreError::NotFound`]; [`StoreError::RevisionMismatch`] when it has changed since it was read.
    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError>;

    /// Records the last uses of credentials. This is not a change: it has no revision and no row in the
    /// change log.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError>;
}

/// Sealed signing keys, in one table that is replaced as a whole.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Reads every key.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn keys(&self) -> Result<KeyTable, StoreError>;

    /// Replaces the table whose version is `table.version`, and returns the new version. If several replicas
    /// rotate at once, one succeeds.
    ///
    /// # Errors
    ///
    /// [`StoreError::RevisionMismatch`] when it has changed since it was read.
    async fn replace_keys(&self, table: &KeyTable, audit: Option<&AdminRecord>) -> Result<u64, StoreError>;

    /// Reads the store's clock, if it has one that every replica shares.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn time(&self) -> Result<Option<SystemTime>, StoreError> {
        Ok(None)
    }
}

/// The time for which tokens may still be issued with a lifetime after it was last stored. A process may be
/// unable to reach the store, or its clock may be behind.
pub const LIFETIME_MARGIN: Duration = Duration::from_secs(86_400);

/// Revocations. Each expires.
#[async_trait]
pub trait RevocationStore: Send + Sync {
    /// Adds a revocation; if the target is already revoked, the later time counts.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError>;

    /// Reads every revocation that has not expired.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError>;

    /// Reads the revocation of one target, if it is revoked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError>;

    /// Removes expired entries, and returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError>;

    /// Stores `configured` as the longest lifetime of tokens issued at `now`. Returns the longest lifetime of
    /// any token that has not expired at `now`, issued by any process under any configuration.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError>;
}

/// Used client assertions, each stored until it expires. An assertion is valid once, across all replicas.
#[async_trait]
pub trait AssertionStore: fmt::Debug + Send + Sync {
    /// Records until `forget_time` that the assertion with this hash was used. Returns false if it was used
    /// before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError>;

    /// Removes expired entries, and returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError>;
}

/// The outbox: every change by every process, in order.
#[async_trait]
pub trait ChangeLog: Send + Sync {
    /// The sequence number of the last change; 0 before the first.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn last_change(&self) -> Result<u64, StoreError>;

    /// Reads at most `limit` changes from `sequence` on, that one included, in order.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError>;

    /// Removes changes older than `age` by the store's clock, but never the last one. Returns their number.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError>;

    /// Waits until a change may have been made. It may wake without a change, and may miss another process's
    /// change. A follower of the log therefore also polls, slowly.
    async fn changed(&self);

    /// Returns the number of lost notification connections. After a loss, the store may be another server.
    fn connections_lost(&self) -> u64 {
        0
    }
}

/// The audit log of changes, for as long as the operator keeps it.
#[async_trait]
pub trait AdminAuditStore: Send + Sync {
    /// Reads at most `limit` records that match `filter`, the newest first, beginning before the record with
    /// number `before`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn admin_records(
        &self,
        filter: &AdminRecordFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError>;
}

/// The whole store.
#[async_trait]
pub trait Store:
    ClientStore
    + KeyStore
    + RevocationStore
    + AssertionStore
    + ChangeLog
    + AdminAuditStore
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// Finishes the calls in flight and closes. Later calls return [`StoreError::Unavailable`].
    async fn close(&self);
}

/// The reason for which a call to the store failed.
///
/// Exhaustive: every caller must decide about a new reason before it compiles.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The entry to change does not exist.
    #[error("not found in the store")]
    NotFound,
    /// The ID is taken.
    #[error("already in the store")]
    AlreadyExists,
    /// The entry has changed since it was read.
    #[error("changed in the store since it was read")]
    RevisionMismatch,
    /// The clients are declared in a file, and cannot be changed here.
    #[error("clients are declared in a file, and can only be changed there")]
    ReadOnly,
    /// Too many calls are in flight. The call did not reach the store, which is not unreachable.
    #[error("too many requests to the store are in flight")]
    Busy,
    /// The store is unreachable, or cannot write. The outcome of the call is unknown.
    #[error("the store is not available")]
    Unavailable(#[source] Source),
    /// The store contains data that cannot be read: damaged, or written by a later version.
    #[error("the store contains data that this version cannot read (a newer version's, or damaged)")]
    Corrupt(#[source] Source),
}

/// The source of a store's error. It is shared, because all callers that waited for one read get its error.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// Returns true if the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy)
    }

    /// Creates the error of an unreachable store.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable(source.into().into())
    }

    /// Creates the error of unreadable data.
    pub fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Corrupt(source.into().into())
    }
}
