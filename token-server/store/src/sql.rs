//! One store over two databases: each statement stands here once.
//!
//! A [`Database`] opens sessions and names the few statements that differ, in its [`Dialect`]. The modules
//! below have all the rest, for both.

mod assertions;
pub(crate) mod clients;
mod history;
mod keys;
mod revocations;

use std::fmt;

use async_trait::async_trait;
use sqlx::{ColumnIndex, Decode, Row as _, Sqlite, Type, postgres::PgRow, sqlite::SqliteRow};
use token_issuer::store::{AdminRecord, ChangeKind, Store, StoreError};
use tokio::sync::Notify;

pub(crate) use self::history::record;
use crate::row;

/// A store in a database.
#[derive(Debug)]
pub struct SqlStore<D> {
    pub(crate) database: D,
}

/// The purpose of a session. Each has its own connections, or shares them by the database's choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The change feed.
    Feed,
    /// A read for a security decision or an operator.
    Read,
    /// One statement that writes.
    Write,
    /// The check of a client assertion, which waits for a short time only.
    Assertion,
    /// The lookup of a client that is not in memory, which strangers can cause.
    Lookup,
}

/// One of the databases.
#[async_trait]
pub(crate) trait Database: fmt::Debug + Send + Sync + 'static {
    /// The statements that differ.
    fn dialect(&self) -> &'static Dialect;

    /// Opens a session without a transaction.
    async fn session(&self, purpose: Purpose) -> Result<Box<dyn Session>, StoreError>;

    /// Begins a change. Changes take place one after another.
    async fn change(&self) -> Result<Box<dyn Session>, StoreError>;

    /// Begins a transaction that reads one state of the database.
    async fn snapshot(&self) -> Result<Box<dyn Session>, StoreError>;

    /// Ends a change, with its row in the audit, and wakes the followers of the change log.
    async fn commit(&self, mut change: Box<dyn Session>, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        if let Some(audit) = audit {
            record(&mut *change, self.dialect(), audit).await?;
        }
        if let Some((notify, channel)) = self.dialect().notify {
            change.rows(notify, &[channel.into()]).await?;
        }
        change.commit().await?;
        self.committed().notify_one();
        Ok(())
    }

    /// Notified after each change that was committed.
    fn committed(&self) -> &Notify;

    /// The number of lost connections that may have lost notices.
    fn connections_lost(&self) -> u64 {
        0
    }

    /// Closes all connections.
    async fn close(&self);
}

/// The statements in which the databases differ.
#[derive(Debug)]
pub(crate) struct Dialect {
    /// Adds a change of kind `$1` and subject `$2` to the log, and returns its sequence number.
    pub(crate) log_change: &'static str,
    /// Revision and document of each client in `$1`, a JSON array of IDs.
    pub(crate) clients_by_id: &'static str,
    /// The IDs of at most `$3` clients with a federated identity of issuer `$1` and one of the subjects in
    /// `$2`, a JSON array of keys.
    pub(crate) federated_clients: &'static str,
    /// Removes the uses of credentials that client `$1` no longer has.
    pub(crate) forget_uses: &'static str,
    /// Removes the changes that are older than `$1` milliseconds by the database's clock, but never the last.
    pub(crate) purge_changes: &'static str,
    /// Removes the revocations that are over at `$1`.
    pub(crate) purge_revocations: &'static str,
    /// The time by the database's clock, in milliseconds, if the clock is not this machine's.
    pub(crate) now: Option<&'static str>,
    /// Tells the other replicas of a change, within its transaction. The second text is `$1`, the channel.
    pub(crate) notify: Option<(&'static str, &'static str)>,
}

/// A value of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'a> {
    Text(Option<&'a str>),
    Integer(Option<i64>),
    Flag(bool),
    Bytes(&'a [u8]),
    /// A JSON text, for a column of documents.
    Json(&'a str),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl<'a> From<Option<&'a str>> for Value<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Integer(number)
    }
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// Returns the value of a column, by its place.
    pub(crate) fn get<T>(&self, column: usize) -> Result<T, StoreError>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, sqlx::Postgres> + Type<sqlx::Postgres>,
        usize: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
        .map_err(StoreError::corrupt)
    }
}

/// A connection, or a transaction. A transaction that is dropped is rolled back.
#[async_trait]
pub(crate) trait Session: Send {
    /// Returns the rows of a statement.
    async fn rows(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<Vec<Row>, StoreError>;

    /// Runs a statement. Returns the number of rows that it changed.
    async fn execute(&mut self, statement: &'static str, values: &[Value<'_>]) -> Result<u64, StoreError>;

    /// Ends the transaction.
    async fn commit(self: Box<Self>) -> Result<(), StoreError>;
}

/// Returns the only row of a statement.
async fn one(session: &mut dyn Session, statement: &'static str, values: &[Value<'_>]) -> Result<Row, StoreError> {
    let rows = session.rows(statement, values).await?;
    rows.into_iter().next().ok_or_else(|| StoreError::corrupt("a statement returned no row"))
}

/// Returns the row of a statement, if there is one.
async fn maybe(
    session: &mut dyn Session,
    statement: &'static str,
    values: &[Value<'_>],
) -> Result<Option<Row>, StoreError> {
    Ok(session.rows(statement, values).await?.into_iter().next())
}

/// Writes a row into the change log. Returns its sequence number.
pub(crate) async fn log_change(
    session: &mut dyn Session,
    dialect: &Dialect,
    kind: &ChangeKind,
) -> Result<i64, StoreError> {
    let (kind, subject) = row::change_columns(kind);
    one(session, dialect.log_change, &[kind.into(), subject.into()]).await?.get(0)
}

#[async_trait]
impl<D: Database> Store for SqlStore<D> {
    async fn close(&self) {
        self.database.close().await;
    }
}
