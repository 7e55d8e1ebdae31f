//! The embedded store: one SQLite file, in WAL mode.
//!
//! One connection writes, so that writers queue here and not in SQLite's busy handler; a few others read. A
//! commit is on disk before it is acknowledged (`synchronous = FULL`): a removed secret stays removed.

mod declare;
mod session;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    ConnectOptions as _, Connection as _, Sqlite, SqlitePool,
    migrate::MigrateError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use token_issuer::store::StoreError;
use tokio::sync::Notify;

use crate::{
    gate::{ASSERTION_QUEUE_TIME_MAX, Gate},
    migration::{self, APPLIED, Upgrade},
    private_file,
    sql::{Database, Dialect, Purpose, Session, SqlStore},
};

/// Connections for reads of revocations, keys and the admin API.
const READERS_MAX: u32 = 3;
/// Connections for lookups of clients that are not in memory. Any caller can cause such lookups.
const LOOKUPS_MAX: u32 = 2;
/// The longest wait of a call for a connection, or for another process's write.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store in one file, or in memory.
pub type SqliteStore = SqlStore<SqliteDatabase>;

/// A database in one file, or in memory.
#[derive(Debug)]
pub struct SqliteDatabase {
    writer: Gate<Sqlite>,
    readers: Gate<Sqlite>,
    lookups: Gate<Sqlite>,
    /// Reads of the change log, which wait for no other call.
    feed: Gate<Sqlite>,
    committed: Notify,
}

impl SqliteStore {
    /// Opens the file, or creates it (readable by its owner alone), and migrates its tables.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the file cannot be opened or written; [`StoreError::Corrupt`] when it
    /// is not a database of this server, or a later version has written it.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create_private(path).map_err(|source| StoreError::unavailable(NoFile { path: path.to_owned(), source }))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(PATIENCE)
            // Overwrites deleted data, such as sealed keys and hashes.
            .pragma("secure_delete", "FAST");
        let writer = pool(1).connect_with(options.clone()).await.map_err(failed)?;
        migrate(&writer).await?;
        let options = options.read_only(true);
        let gate = |connections| Gate::new(pool(connections).connect_lazy_with(options.clone()), PATIENCE);
        let database = SqliteDatabase {
            writer: Gate::new(writer, PATIENCE),
            readers: gate(READERS_MAX),
            lookups: gate(LOOKUPS_MAX),
            feed: gate(1),
            committed: Notify::new(),
        };
        Ok(Self { database })
    }

    /// Copies the current state of the database file `from` into the new file `to` (readable by its owner
    /// alone). Other processes may read and write meanwhile. The copy is a complete store. To restore it,
    /// stop the server and put the copy in the place of its file.
    ///
    /// # Errors
    ///
    /// [`StoreError::AlreadyExists`] when `to` exists; [`StoreError::Unavailable`] when `from` cannot be read
    /// or `to` cannot be written. Nothing is left at `to` then.
    pub async fn back_up(from: &Path, to: &Path) -> Result<(), StoreError> {
        private_file::reserve(to).map_err(|error| {
            let exists = error.kind() == std::io::ErrorKind::AlreadyExists;
            if exists { StoreError::AlreadyExists } else { StoreError::unavailable(error) }
        })?;
        let copied = copy(from, to).await;
        if copied.is_err() {
            // A partial copy is not a backup.
            let _ = std::fs::remove_file(to);
        }
        copied
    }

    /// Compares the tables of the file with those that this program needs. Changes nothing. Without a file,
    /// every migration is pending.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the file exists and cannot be read.
    pub async fn upgrade(path: &Path) -> Result<Upgrade, StoreError> {
        // A folder that may not be read is no missing file.
        if !path.try_exists().map_err(StoreError::unavailable)? {
            return Ok(Upgrade::of(&BTreeSet::new()));
        }
        let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(PATIENCE);
        let mut connection = options.connect().await.map_err(failed)?;
        let table = "SELECT count(*) FROM sqlite_schema WHERE name = '_sqlx_migrations'";
        let tables: i64 = sqlx::query_scalar(table).fetch_one(&mut connection).await.map_err(failed)?;
        let applied: Vec<i64> = match tables {
            0 => Vec::new(),
            _ => sqlx::query_scalar(APPLIED).fetch_all(&mut connection).await.map_err(failed)?,
        };
        connection.close().await.map_err(failed)?;
        Ok(Upgrade::of(&applied.into_iter().collect()))
    }

    /// Opens a store in memory, which ends with its process.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when memory cannot be allocated.
    pub async fn open_in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new().in_memory(true).foreign_keys(true);
        // The database exists only as long as this connection.
        let pool = pool(1).min_connections(1).connect_with(options).await.map_err(failed)?;
        migrate(&pool).await?;
        let only = Gate::new(pool, PATIENCE);
        let [writer, readers, lookups, feed] = [only.clone(), only.clone(), only.clone(), only];
        Ok(Self { database: SqliteDatabase { writer, readers, lookups, feed, committed: Notify::new() } })
    }
}

const DIALECT: Dialect = Dialect {
    log_change: "INSERT INTO change_log (mark, kind, subject) VALUES (lower(hex(randomblob(16))), $1, $2)
                 RETURNING sequence",
    clients_by_id: "SELECT revision, document FROM client WHERE id IN (SELECT value FROM json_each($1))",
    federated_clients: "SELECT DISTINCT client_id FROM federated_identity
                        WHERE issuer = $1 AND subject IN (SELECT value FROM json_each($2))
                        ORDER BY client_id LIMIT $3",
    forget_uses: "DELETE FROM credential_use WHERE client_id = $1 AND credential_id NOT IN (
                      SELECT credential.value ->> 'id'
                      FROM client, json_each(client.document, '$.credentials') AS credential
                      WHERE client.id = $1
                  )",
    purge_changes: "DELETE FROM change_log WHERE time <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - $1
                        AND sequence < (SELECT max(sequence) FROM change_log)",
    purge_revocations: "DELETE FROM revocation WHERE forget_time <= $1",
    now: None,
    notify: None,
};

#[async_trait]
impl Database for SqliteDatabase {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    async fn session(&self, purpose: Purpose) -> Result<Box<dyn Session>, StoreError> {
        let (gate, queue_time_max) = match purpose {
            Purpose::Feed => (&self.feed, None),
            Purpose::Read => (&self.readers, None),
            Purpose::Write => (&self.writer, None),
            Purpose::Assertion => (&self.writer, Some(ASSERTION_QUEUE_TIME_MAX)),
            Purpose::Lookup => (&self.lookups, None),
        };
        Ok(Box::new(gate.connection(queue_time_max).await?.map_err(failed)?))
    }

    /// IMMEDIATE takes the write lock at once. Otherwise a transaction that reads first fails at its first
    /// write if another writer was faster, without waiting.
    async fn change(&self) -> Result<Box<dyn Session>, StoreError> {
        Ok(Box::new(self.writer.begin("BEGIN IMMEDIATE").await?.map_err(failed)?))
    }

    async fn snapshot(&self) -> Result<Box<dyn Session>, StoreError> {
        Ok(Box::new(self.readers.begin("BEGIN").await?.map_err(failed)?))
    }

    fn committed(&self) -> &Notify {
        &self.committed
    }

    async fn close(&self) {
        for gate in [&self.feed, &self.lookups, &self.readers, &self.writer] {
            gate.pool().close().await;
        }
    }
}

/// Copies in one read transaction, so that the copy is consistent.
async fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let to_text = to.to_str().ok_or_else(|| StoreError::unavailable("the path is not valid UTF-8"))?;
    let options = SqliteConnectOptions::new().filename(from).read_only(true).busy_timeout(PATIENCE);
    let mut connection = options.connect().await.map_err(failed)?;
    sqlx::query("VACUUM INTO ?1").bind(to_text).execute(&mut connection).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    // SQLite does not sync the copy to disk.
    std::fs::File::open(to).and_then(|copy| copy.sync_all()).map_err(StoreError::unavailable)
}

fn pool(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(PATIENCE)
        // A file does not lose its connection.
        .test_before_acquire(false)
        .idle_timeout(None)
        .max_lifetime(None)
}

async fn migrate(pool: &SqlitePool) -> Result<(), StoreError> {
    let migrator = migration::migrator(migration::Kind::Sqlite);
    // Another process may migrate at the same time. Each attempt that fails because of that finds more of the
    // work done.
    let attempts = 2 * migrator.iter().count();
    for _ in 0..attempts {
        if migrator.run(pool).await.is_ok() {
            return Ok(());
        }
    }
    migrator.run(pool).await.map_err(|error| {
        if let MigrateError::Execute(error) = error { failed(error) } else { StoreError::corrupt(error) }
    })
}

/// The store's file does not exist, and cannot be created.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} cannot be opened for writing or created: its folder must exist and be writable by this process",
    path.display()
)]
struct NoFile {
    path: PathBuf,
    source: std::io::Error,
}

/// SQLite gives the journals the permissions of the database file.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// Maps an error. A value that cannot be decoded is damage; every other error may be transient.
fn failed(error: sqlx::Error) -> StoreError {
    let undecodable = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    let code = error.as_database_error().and_then(|error| error.code());
    // SQLITE_CORRUPT, SQLITE_NOTADB
    let damaged = code.is_some_and(|code| matches!(&*code, "11" | "26"));
    if undecodable || damaged { StoreError::corrupt(error) } else { StoreError::unavailable(error) }
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;

    use super::*;

    /// A workload that does not send its client ID chooses the subject of the lookup.
    #[tokio::test]
    async fn a_lookup_by_issuer_and_subject_uses_the_index() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token-server.db");
        let store = SqliteStore::open(&path).await.unwrap();
        let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
        let statement = format!("EXPLAIN QUERY PLAN {}", DIALECT.federated_clients);
        let plan = sqlx::query(sqlx::AssertSqlSafe(statement)).bind("i").bind(r#"["=a"]"#).bind(9_i64);
        let rows = plan.fetch_all(&mut connection).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 3)).collect();
        let of_the_table: Vec<_> = steps.iter().filter(|step| step.contains("federated_identity")).collect();
        assert!(!of_the_table.is_empty(), "{steps:?}");
        let searched = |step: &&String| step.starts_with("SEARCH") && step.contains("issuer=? AND subject=?");
        assert!(of_the_table.iter().all(searched), "{steps:?}");
        drop(store);
    }
}
