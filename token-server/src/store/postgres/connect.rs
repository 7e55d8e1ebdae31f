//! Connections: to the server that can be written to, with the time limits that every connection has.
//!
//! The limits are set by statements once a connection is there. As startup parameters a pooler would refuse or drop them.

use std::time::Duration;

use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool, Row as _,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::timeout;

use crate::store::StoreError;

/// How long a call waits for a connection: one that is down is tried again and again for as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How long the database works on one statement, and waits for one lock. "Already exists, skipping" at every start is no
/// news.
const SETTINGS: &str = "SET statement_timeout = '5s'; SET lock_timeout = '5s'; SET client_min_messages = warning";
/// What PostgreSQL answers while it starts, and while it has no connection left.
const COMES_UP: [&str; 3] = ["57P03", "57P01", "53300"];
/// What a connection gets whose statements were prepared on another one: "already exists", "does not exist".
const PREPARED_ELSEWHERE: [&str; 2] = ["42P05", "26000"];

/// No server of the URL can be used now.
#[derive(Debug, thiserror::Error)]
#[error("PostgreSQL at {place} cannot be used")]
pub(in crate::store) struct Unusable {
    place: String,
    /// Whether it may be usable in a moment without anything else being changed.
    pub(in crate::store) comes_up: bool,
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

/// The pooler in between gives each transaction another connection.
#[derive(Debug, thiserror::Error)]
#[error(
    "a connection pooler in transaction mode is between this server and PostgreSQL; use session mode, or connect to \
     PostgreSQL itself: prepared statements, LISTEN and time limits belong to a session"
)]
pub(super) struct TransactionPooling;

/// A pool of so many connections to `server`. Connects when it is first used.
pub(super) fn pool(server: &PgConnectOptions, connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(PATIENCE)
        .after_connect(|connection, _| Box::pin(async move { set_up(connection).await.map_err(Why::into_sqlx) }))
        .connect_lazy_with(server.clone())
}

/// The first server that can be written to.
///
/// # Errors
///
/// [`StoreError::Unavailable`] with the last server's reason, where there is none.
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

/// Finds out whether a pooler gives each transaction a connection of its choice: what one session sets is seen by another
/// then.
///
/// # Errors
///
/// [`TransactionPooling`], as [`StoreError::Corrupt`]: it does not pass by itself.
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

/// Whether an error is what a pooler in transaction mode causes.
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

/// Without prepared statements, so that it works whatever is in between.
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
