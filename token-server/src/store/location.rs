//! Where a store is, as a URL: the one place that knows which stores there are.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use secrecy::{ExposeSecret as _, SecretString};

use super::{DeclaredStore, Store, StoreError, postgres::PostgresStore, sqlite::SqliteStore};

/// Where a store is.
#[derive(Clone)]
pub enum StoreLocation {
    /// A SQLite database file: `sqlite:///var/lib/token-server/token-server.db`.
    Sqlite(PathBuf),
    /// A PostgreSQL database: `postgres://user:password@host/database`.
    Postgres(SecretString),
    /// A file that declares every client: `file:///etc/token-server/clients.toml`.
    Declared {
        /// The file.
        clients: PathBuf,
        /// Where keys and revocations are kept; without it in memory.
        state: Option<PathBuf>,
    },
}

/// The text is not the URL of a store that is known here. Does not repeat it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a store known here: sqlite:///path/to/file, postgres://user:password@host/database, or file:///path/to/clients.toml"
)]
pub struct StoreLocationError;

impl StoreLocation {
    /// Reads a URL.
    ///
    /// # Errors
    ///
    /// When it is not one of a store that is known here.
    pub fn parse(url: &str) -> Result<Self, StoreLocationError> {
        match url.split_once("://") {
            Some(("sqlite", path)) if !path.is_empty() => Ok(Self::Sqlite(path.into())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::Declared { clients: path.into(), state: None }),
            Some(("postgres" | "postgresql", rest)) if !rest.is_empty() => Ok(Self::Postgres(url.into())),
            Some(_) | None => Err(StoreLocationError),
        }
    }

    /// Opens the store, and brings its tables up to date. Clients that a file declares are not read here.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] when it is out of reach, [`StoreError::Corrupt`] when it is none of ours.
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

/// Where a server keeps what is its own beside declared clients: in a file, or in memory.
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
            assert_eq!(StoreLocation::parse(bad).unwrap_err(), StoreLocationError, "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_password() {
        let location = StoreLocation::parse("postgres://u:hunter2@h/d").unwrap();
        assert_eq!(format!("{location:?}"), "Postgres(…)");
    }
}
