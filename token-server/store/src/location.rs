//! The URL of a store. Only this module lists the kinds of stores.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::error_chain;
use token_issuer::store::{Store, StoreError};
use tokio::time::{Instant, sleep};

use crate::{
    DeclaredStore, Upgrade,
    postgres::{self, DatabaseUrlError, PostgresStore},
    sqlite::SqliteStore,
};

/// The time between two attempts to reach a database at startup.
const RETRY: Duration = Duration::from_secs(2);

/// The location of a store.
///
/// Exhaustive: the program must open a new kind of store before it compiles.
#[derive(Clone)]
pub enum StoreLocation {
    /// A SQLite database file: `sqlite:///var/lib/token-server/token-server.db`.
    Sqlite(PathBuf),
    /// A PostgreSQL database: `postgres://user:password@host/database`.
    Postgres(SecretString),
    /// A file that declares all clients: `file:///etc/token-server/clients.toml`.
    Declared {
        /// The file with the clients.
        clients: PathBuf,
        /// The SQLite file for keys and revocations; `None` keeps them in memory.
        state: Option<PathBuf>,
    },
}

/// The text is not the URL of a store. The error does not contain the text, as it may hold a password.
///
/// Exhaustive: the configuration has a sentence of its own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreLocationError {
    /// The URL names no supported kind of store.
    #[error(
        "not the URL of a store; expected sqlite:///path/to/file, postgres://user:password@host/database, or \
         file:///path/to/clients.toml"
    )]
    Unknown,
    /// The URL names a PostgreSQL database but cannot be used.
    #[error(transparent)]
    Database(#[from] DatabaseUrlError),
}

impl StoreLocation {
    /// Parses a URL.
    ///
    /// # Errors
    ///
    /// When the URL names no supported kind of store.
    pub fn parse(url: &str) -> Result<Self, StoreLocationError> {
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::Declared { clients: path.into(), state: None }),
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => {
                postgres::url::servers(url)?;
                Ok(Self::Postgres(url.into()))
            }
            Some(_) | None => Err(StoreLocationError::Unknown),
        }
    }

    /// Returns true if `url` is a database URL that holds a password, in any of the allowed positions.
    #[must_use]
    pub fn has_password(url: &str) -> bool {
        matches!(url.split_once("://"), Some(("postgres" | "postgresql", _))) && postgres::url::has_password(url)
    }

    /// Opens the store as [`StoreLocation::open`] does. Retries an unreachable database for at most `wait`,
    /// and logs the reason.
    ///
    /// # Errors
    ///
    /// As [`StoreLocation::open`].
    pub async fn open_within(&self, wait: Duration) -> Result<Arc<dyn Store>, StoreError> {
        let deadline = Instant::now() + wait;
        loop {
            match self.open().await {
                Err(error) if comes_up(&error) && Instant::now() + RETRY <= deadline => {
                    let error = error_chain::of(&error);
                    tracing::warn!(error, "the store cannot be used yet; trying again");
                    sleep(RETRY).await;
                }
                opened => return opened,
            }
        }
    }

    /// Compares the tables of the store with those that this program needs. Changes nothing. `None` for a
    /// store in memory, which starts empty.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the store cannot be read.
    pub async fn upgrade(&self) -> Result<Option<Upgrade>, StoreError> {
        match self {
            Self::Sqlite(path) | Self::Declared { state: Some(path), .. } => SqliteStore::upgrade(path).await.map(Some),
            Self::Postgres(url) => PostgresStore::upgrade(url.expose_secret()).await.map(Some),
            Self::Declared { state: None, .. } => Ok(None),
        }
    }

    /// Opens the store and migrates its tables. Does not read the clients that a file declares.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when the store is unreachable, [`StoreError::Corrupt`] when it is not a
    /// store of this server.
    pub async fn open(&self) -> Result<Arc<dyn Store>, StoreError> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
            Self::Postgres(url) => Arc::new(PostgresStore::open(url.expose_secret()).await?),
            Self::Declared { state, .. } => Arc::new(DeclaredStore::new(open_state(state.as_deref()).await?)),
        })
    }
}

impl fmt::Debug for StoreLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(_) => f.write_str("Postgres(…)"),
            Self::Declared { clients, state } => {
                f.debug_struct("Declared").field("clients", clients).field("state", state).finish()
            }
        }
    }
}

/// Returns true if a retry may succeed without intervention: the database or network is starting, or a
/// standby is being promoted.
fn comes_up(error: &StoreError) -> bool {
    let StoreError::Unavailable(source) = error else { return false };
    source.downcast_ref::<postgres::connect::Unusable>().is_some_and(|unusable| unusable.comes_up)
}

/// Opens the store for the server's own state beside declared clients: in a file, or in memory.
///
/// # Errors
///
/// As [`SqliteStore::open`].
pub async fn open_state(file: Option<&Path>) -> Result<SqliteStore, StoreError> {
    match file {
        Some(file) => SqliteStore::open(file).await,
        None => SqliteStore::open_in_memory().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_urls_of_known_stores_alone() {
        let path = |url| match StoreLocation::parse(url) {
            Ok(StoreLocation::Sqlite(path)) => Some(path),
            Ok(StoreLocation::Postgres(_) | StoreLocation::Declared { .. }) | Err(_) => None,
        };
        assert_eq!(path("sqlite:///var/a.db"), Some("/var/a.db".into()));
        assert_eq!(path("sqlite://a.db"), Some("a.db".into()));
        assert!(matches!(StoreLocation::parse("postgresql://u@h/d"), Ok(StoreLocation::Postgres(_))));
        for bad in ["", "a.db", "sqlite://", "postgres://", "mysql://u@h/d", "file://"] {
            assert_eq!(StoreLocation::parse(bad).unwrap_err(), StoreLocationError::Unknown, "{bad}");
        }
        let bad = StoreLocation::parse("postgres://u:p@ss@h/d").unwrap_err();
        assert_eq!(bad, StoreLocationError::Database(DatabaseUrlError::NotEncoded));
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_that_is_down_is_waited_for_and_named() {
        let location = StoreLocation::parse("postgres://u@127.0.0.1:1/none").unwrap();
        let begun = Instant::now();
        let error = location.open_within(Duration::from_secs(9)).await.unwrap_err();
        assert!((8..=9).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        let chain = error_chain::of(&error);
        assert!(chain.contains("PostgreSQL at 127.0.0.1:1"), "{chain}");
        assert_eq!(chain.matches("Connection refused").count(), 1, "{chain}");
    }

    #[test]
    fn debug_shows_no_password() {
        let location = StoreLocation::parse("postgres://u:hunter2@h/d").unwrap();
        assert_eq!(format!("{location:?}"), "Postgres(…)");
    }
}
