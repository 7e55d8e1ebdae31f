//! The shared store: PostgreSQL, for several replicas.
//!
//! Changes take a lock, one after another, so that sequence numbers in the change log become visible in their
//! order: a follower that has seen one has seen all before it. There are few changes, and no token is one.

pub(super) mod connect;
mod listen;
mod session;
pub(super) mod url;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use sqlx::{PgPool, Postgres, migrate::MigrateError};
use token_issuer::store::StoreError;
use tokio::{sync::Notify, task::JoinSet};

use self::connect::PATIENCE;
pub use self::url::DatabaseUrlError;
use crate::{
    gate::{ASSERTION_QUEUE_TIME_MAX, Gate},
    migration::{self, APPLIED, Upgrade},
    sql::{Database, Dialect, Purpose, Session, SqlStore},
};

/// Connections for the change feed: one polls, one listens, one checks that the store is reachable.
const FEED_CONNECTIONS: u32 = 3;
/// Connections for security decisions and operators: used assertions, revocations, keys, the admin API.
const DECISION_CONNECTIONS: u32 = 4;
/// Connections for lookups of clients that are not in memory. Any caller can cause such lookups.
const LOOKUP_CONNECTIONS: u32 = 3;
/// The advisory lock that orders the changes: the word "token" as a number.
const CHANGE_LOCK: i64 = 0x74_6f_6b_65_6e;
/// The channel that replicas listen to.
const CHANNEL: &str = "token_server_changes";

/// A store in a PostgreSQL database.
pub type PostgresStore = SqlStore<PostgresDatabase>;

/// A PostgreSQL database.
pub struct PostgresDatabase {
    feed: Gate<Postgres>,
    decisions: Gate<Postgres>,
    lookups: Gate<Postgres>,
    committed: Arc<Notify>,
    connections_lost: Arc<AtomicU64>,
    /// The tasks that listen. They end with the store.
    _listening: JoinSet<()>,
}

impl PostgresStore {
    /// Connects, and migrates the tables. If several replicas start at once, one of them migrates.
    ///
    /// `url` is `postgres://user:password@host:port/database?…` with libpq's parameters. Of several hosts
    /// (`host:port,host:port`) it uses the writable one, and switches after a failover. Without `sslmode`, a
    /// server on another machine must present a certificate that is valid for its name.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no server is reachable, or `url` cannot be read;
    /// [`StoreError::Corrupt`] when a later version has written the database, or a pooler in between splits
    /// sessions.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let servers = url::servers(url).map_err(StoreError::unavailable)?;
        let server = connect::writable(&servers).await?;
        connect::expect_sessions(&server).await?;
        let pool = |connections| connect::pool(&server, connections);
        let [feed, decisions, lookups] = [FEED_CONNECTIONS, DECISION_CONNECTIONS, LOOKUP_CONNECTIONS]
            .map(|connections| Gate::new(pool(connections), PATIENCE));
        migrate(decisions.pool()).await?;
        let committed = Arc::new(Notify::new());
        let mut listening = JoinSet::new();
        let connections_lost = Arc::<AtomicU64>::default();
        let pools = [&feed, &decisions, &lookups].map(|gate| gate.pool().clone());
        let heard =
            listen::Heard { committed: Arc::clone(&committed), connections_lost: Arc::clone(&connections_lost) };
        listening.spawn(listen::listen(pools, servers, heard));
        let database =
            PostgresDatabase { feed, decisions, lookups, committed, connections_lost, _listening: listening };
        Ok(Self { database })
    }

    /// Compares the tables of the database with those that this program needs. Changes nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when no server is reachable, or `url` cannot be read.
    pub async fn upgrade(url: &str) -> Result<Upgrade, StoreError> {
        let servers = url::servers(url).map_err(StoreError::unavailable)?;
        let pool = connect::pool(&connect::writable(&servers).await?, 1);
        let table = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL");
        let has_table: bool = table.fetch_one(&pool).await.map_err(failed)?;
        let applied: Vec<i64> = match has_table {
            false => Vec::new(),
            true => sqlx::query_scalar(APPLIED).fetch_all(&pool).await.map_err(failed)?,
        };
        pool.close().await;
        Ok(Upgrade::of(&applied.into_iter().collect()))
    }
}

const DIALECT: Dialect = Dialect {
    log_change: "INSERT INTO change_log (kind, subject) VALUES ($1, $2) RETURNING sequence",
    clients_by_id: "SELECT revision, CAST(document AS text) FROM client
                    WHERE id IN (SELECT jsonb_array_elements_text($1))",
    federated_clients: "SELECT DISTINCT client_id FROM federated_identity
                        WHERE issuer = $1 AND subject IN (SELECT jsonb_array_elements_text($2))
                        ORDER BY client_id LIMIT $3",
    forget_uses: "DELETE FROM credential_use WHERE client_id = $1 AND credential_id NOT IN (
                      SELECT credential ->> 'id'
                      FROM client, jsonb_array_elements(client.document -> 'credentials') AS credential
                      WHERE client.id = $1
                  )",
    purge_changes: "DELETE FROM change_log WHERE time <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1
                        AND sequence < (SELECT max(sequence) FROM change_log)",
    // Nothing is removed early because one replica's clock is ahead: the database's own clock must agree.
    purge_revocations: "DELETE FROM revocation
                        WHERE forget_time <= least($1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)",
    now: Some("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"),
    // Without a payload: the log holds the change, and equal notices are sent once.
    notify: Some(("SELECT CAST(pg_notify($1, '') AS text)", CHANNEL)),
};

#[async_trait]
impl Database for PostgresDatabase {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    async fn session(&self, purpose: Purpose) -> Result<Box<dyn Session>, StoreError> {
        let (gate, queue_time_max) = match purpose {
            Purpose::Feed => (&self.feed, None),
            Purpose::Read | Purpose::Write => (&self.decisions, None),
            Purpose::Assertion => (&self.decisions, Some(ASSERTION_QUEUE_TIME_MAX)),
            Purpose::Lookup => (&self.lookups, None),
        };
        Ok(Box::new(gate.connection(queue_time_max).await?.map_err(failed)?))
    }

    async fn change(&self) -> Result<Box<dyn Session>, StoreError> {
        let mut change = self.decisions.begin("BEGIN").await?.map_err(failed)?;
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(CHANGE_LOCK);
        lock.execute(&mut *change).await.map_err(failed)?;
        Ok(Box::new(change))
    }

    async fn snapshot(&self) -> Result<Box<dyn Session>, StoreError> {
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        Ok(Box::new(self.decisions.begin(begin).await?.map_err(failed)?))
    }

    fn committed(&self) -> &Notify {
        &self.committed
    }

    fn connections_lost(&self) -> u64 {
        self.connections_lost.load(Ordering::Acquire)
    }

    async fn close(&self) {
        for gate in [&self.feed, &self.lookups, &self.decisions] {
            gate.pool().close().await;
        }
    }
}

async fn migrate(pool: &PgPool) -> Result<(), StoreError> {
    migration::migrator(migration::Kind::Postgres).run(pool).await.map_err(|error| {
        if let MigrateError::Execute(error) = error { failed(error) } else { StoreError::corrupt(error) }
    })
}

/// Maps an error. A value that cannot be decoded is damage; every other error may be transient.
fn failed(error: sqlx::Error) -> StoreError {
    let damaged = matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_));
    match error {
        error if damaged => StoreError::corrupt(error),
        error if connect::is_pooled(&error) => StoreError::unavailable(connect::TransactionPooling),
        error => StoreError::unavailable(error),
    }
}

impl fmt::Debug for PostgresDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDatabase").field("decisions", &self.decisions).finish_non_exhaustive()
    }
}
