//! Connections to the writable server, each with time limits.
//!
//! The limits are set by statements after connecting. A pooler would reject or drop them as startup
//! parameters.

use std::time::Duration;

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use token_issuer::store::StoreError;
use tokio::time::timeout;

/// The time limit for getting a connection. A failing connection is retried until then.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The time limits for a statement and for a lock. Notices are off because "already exists, skipping" would
/// be logged at every start.
const SETTINGS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; SET client_min_messages = warning";
/// The SQLSTATEs of a PostgreSQL server that is starting, is shutting down, or has no free connection.
const COMES_UP: [&str; 3] = ["57P03", "57P01", "53300"];
/// The SQLSTATEs for statements prepared on another connection: "already exists" and "does not exist".
const PREPARED_ELSEWHERE: [&str; 2] = ["42P05", "26000"];

/// No server of the URL is usable now.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {place} cannot be used")]
pub(crate) struct Unusable {
    place: String,
    /// True if a retry may succeed without intervention.
    pub(crate) comes_up: bool,
    source: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error("it does not answer")]
    Silent,
    #[error("it is a standby, or read-only; the URL must name the primary")]
    ReadOnly,
    #[error(transparent)]
    Database(sqlx::Error),
}

/// A pooler in between runs each transaction on another connection.
#[derive(Debug, thiserror::Error)]
#[error(
    "a connection pooler in transaction mode is between this server and PostgreSQL; use session mode, or connect to \
     PostgreSQL itself: prepared statements, LISTEN and time limits belong to a session"
)]
pub(super) struct TransactionPooling;

/// Creates a pool of `connections` connections to `server`. It connects at first use.
pub(super) fn pool(server: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| Box::pin(async move { set_up(connection).await.map_err(Why::into_sqlx) }))
        .connect_lazy_with(server.clone())
}

/// Returns the first writable server.
///
/// # Errors
///
/// [`StoreError::Unavailable`] with the last server's reason, when no server is writable.
pub(super) async fn writable(servers: &[PgConnectOptions]) -> Result<PgConnectOptions, StoreError> {
    let mut last = StoreError::unavailable("the database URL names no server");
    for server in servers {
        match reach(server).await {
            Ok(connection) => {
                let _ = connection.close().await;
                return Ok(server.clone());
            }
            Err(error) => {
                let comes_up = error.comes_up();
                last = StoreError::unavailable(Unusable { place: place(server), comes_up, source: error });
            }
        }
    }
    Err(last)
}

/// Detects a pooler in transaction mode: a setting of one session is then visible in another.
///
/// # Errors
///
/// [`TransactionPooling`] as [`StoreError::Corrupt`], because a retry cannot succeed.
pub(super) async fn expect_sessions(server: &PgConnectOptions) -> Result<(), StoreError> {
    let failed = |error: Why| StoreError::unavailable(error);
    let (mut one, mut other) = (reach(server).await.map_err(failed)?, reach(server).await.map_err(failed)?);
    let name = "token_server.session";
    let seen = async {
        one.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET {name} = 'one'")))).await?;
        let seen = format!("SELECT coalesce(current_setting('{name}', true), '')");
        let row = other.fetch_one(sqlx::raw_sql(sqlx::AssertSqlSafe(seen))).await?;
        row.try_get::<String, _>(0)
    };
    let seen = seen.await.map_err(super::failed)?;
    let _ = tokio::join!(one.close(), other.close());
    if seen == "one" { Err(StoreError::corrupt(TransactionPooling)) } else { Ok(()) }
}

/// Returns true if the error is caused by a pooler in transaction mode.
pub(super) fn is_pooled(error: &sqlx::Error) -> bool {
    has_code(error, &PREPARED_ELSEWHERE)
}

async fn reach(server: &PgConnectOptions) -> Result<PgConnection, Why> {
    let reached = async {
        let mut connection = PgConnection::connect_with(server).await.map_err(Why::Database)?;
        set_up(&mut connection).await?;
        Ok(connection)
    };
    timeout(PATIENCE, reached).await.unwrap_or(Err(Why::Silent))
}

/// Uses no prepared statements, so that it works through any pooler.
async fn set_up(connection: &mut PgConnection) -> Result<(), Why> {
    connection.execute(sqlx::raw_sql(SETTINGS)).await.map_err(Why::Database)?;
    let row = connection.fetch_one(sqlx::raw_sql("SHOW transaction_read_only")).await.map_err(Why::Database)?;
    let read_only: String = row.try_get(0).map_err(Why::Database)?;
    if read_only == "off" { Ok(()) } else { Err(Why::ReadOnly) }
}

fn place(server: &PgConnectOptions) -> String {
    match server.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", server.get_host(), server.get_port()),
    }
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| codes.contains(&&*code))
}

impl Why {
    fn comes_up(&self) -> bool {
        match self {
            Self::Silent | Self::ReadOnly | Self::Database(sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut) => true,
            Self::Database(error) => has_code(error, &COMES_UP),
        }
    }

    fn into_sqlx(self) -> sqlx::Error {
        match self {
            Self::Database(error) => error,
            Self::Silent | Self::ReadOnly => sqlx::Error::Configuration(Box::new(self)),
        }
    }
}
