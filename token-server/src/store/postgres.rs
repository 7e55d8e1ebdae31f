//! The shared store: PostgreSQL, for several replicas.
//!
//! Changes take a lock, one after another, so that sequence numbers in the change log become visible in their
//! order: a follower that has seen one has seen all before it. There are few changes, and no token is one.

mod assertions;
mod clients;
mod history;
mod keys;
mod listen;
mod revocations;

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    str::FromStr as _,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{
    PgConnection, PgPool, Postgres, SqlStr, Transaction,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions, PgSslMode},
};
use tokio::{sync::Notify, task::JoinSet};

use super::{AdminRecord, ChangeKind, Store, StoreError, row};

/// Connections of one replica, one of which listens.
const CONNECTIONS_MAX: u32 = 8;
/// How long a call waits for a connection: one that is down is tried again and again for as long.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the database works on one statement, and waits for one lock, in its own notation.
const STATEMENT_TIMEOUT: &str = "5s";
/// Which advisory lock orders the changes: the word "token" as a number.
const CHANGE_LOCK: i64 = 0x74_6f_6b_65_6e;
/// What replicas listen to.
const CHANNEL: &str = "token_server_changes";

/// A store in a PostgreSQL database.
pub struct PostgresStore {
    pool: PgPool,
    committed: Arc<Notify>,
    connections_lost: Arc<AtomicU64>,
    /// Ends with the store.
    _listening: JoinSet<()>,
}

impl PostgresStore {
    /// Connects, and brings the tables up to date; of several replicas that start at once one does it.
    ///
    /// `url` is `postgres://user:password@host:port/database?…` with libpq's parameters. Without `sslmode`,
    /// anything but this machine must show a certificate that is good for its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the database is out of reach, or `url` cannot be read;
    /// [`StoreError::Corrupt`] when a later version has written it.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(failed)?;
        migrate(&pool).await?;
        let committed = Arc::new(Notify::new());
        let mut listening = JoinSet::new();
        let connections_lost = Arc::<AtomicU64>::default();
        listening.spawn(listen::listen(pool.clone(), Arc::clone(&committed), Arc::clone(&connections_lost)));
        Ok(Self { pool, committed, connections_lost, _listening: listening })
    }

    /// Begins a change.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(CHANGE_LOCK)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        Ok(transaction)
    }

    /// Ends a change, with its row in the audit, and wakes who follows the change log, everywhere.
    async fn commit(
        &self,
        mut transaction: Transaction<'static, Postgres>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        if let Some(record) = audit {
            history::record(&mut transaction, record).await?;
        }
        // Without a payload: what changed stands in the log, and equal notices are sent once.
        sqlx::query("SELECT pg_notify($1, '')").bind(CHANNEL).execute(&mut *transaction).await.map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        self.committed.notify_one();
        Ok(())
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn close(&self) {
        self.pool.close().await;
    }
}

/// Writes a row into the change log; returns its sequence number.
async fn log_change(connection: &mut PgConnection, kind: &ChangeKind) -> Result<i64, StoreError> {
    let (kind, subject) = row::change_columns(kind);
    sqlx::query_scalar("INSERT INTO change_log (kind, subject) VALUES ($1, $2) RETURNING sequence")
        .bind(kind)
        .bind(subject)
        .fetch_one(connection)
        .await
        .map_err(failed)
}

fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The parser's own message may repeat the URL, and with it the password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::unavailable("the database URL is not one of postgres://user:password@host/database"))?
        .application_name("token-server")
        .options([
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("lock_timeout", STATEMENT_TIMEOUT),
            // "Already exists, skipping" is no news at every start.
            ("client_min_messages", "warning"),
        ]);
    let mode_given = url.contains("sslmode=") || url.contains("ssl-mode=");
    if mode_given || is_local(&options) { Ok(options) } else { Ok(options.ssl_mode(PgSslMode::VerifyFull)) }
}

fn is_local(options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    options.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    let migration = |version, name, sql| {
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    let migrations = vec![
        migration(1, "init", include_str!("../../migrations/postgres/0001_init.sql")),
        migration(2, "used assertions", include_str!("../../migrations/postgres/0002_used_assertion.sql")),
        migration(3, "epoch", include_str!("../../migrations/postgres/0003_epoch.sql")),
    ];
    Migrator::with_migrations(migrations).run(pool).await.map_err(|error| {
        if let MigrateError::Execute(error) = error { failed(error) } else { StoreError::corrupt(error) }
    })
}

/// What cannot be decoded is damage; all else may pass.
fn failed(error: sqlx::Error) -> StoreError {
    let damaged = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    if damaged { StoreError::corrupt(error) } else { StoreError::unavailable(error) }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore").field("connections", &self.pool.size()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> PgSslMode {
        options(url).unwrap().get_ssl_mode()
    }

    #[test]
    fn a_database_elsewhere_must_prove_who_it_is_unless_told_otherwise() {
        assert!(matches!(mode("postgres://u:p@db.example/tokens"), PgSslMode::VerifyFull));
        assert!(matches!(mode("postgres://u:p@db.example/tokens?sslmode=disable"), PgSslMode::Disable));
        assert!(matches!(mode("postgres://u@10.0.0.7/tokens"), PgSslMode::VerifyFull));
        for local in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(!matches!(mode(&format!("postgres://u@{local}/tokens")), PgSslMode::VerifyFull), "{local}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_repeating_the_password() {
        let error = options("postgres://u:hunter2@:port/").unwrap_err();
        assert!(!crate::error_chain::of(&error).contains("hunter2"));
    }
}
