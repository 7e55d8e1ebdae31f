//! `token-server backup`: a copy of the SQLite store while the server runs.

use std::path::PathBuf;

use clap::Args;
use token_issuer::store::StoreError;
use token_store::{StoreLocation, sqlite::SqliteStore};

use super::{
    failure::Failure,
    output::{Output, note},
    runtime::runtime,
    serve::load,
};

/// Writes a consistent copy of the SQLite store to a new file, also while the server runs.
///
/// The copy cannot be used without the sealing key and the pepper. Back those up too, in another place. To
/// restore, stop the server, put the copy in the place of the store, remove the -wal and -shm files beside
/// it, and start the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server backup --config token-server.toml --to /backup/token-server-$(date +%F).db

A PostgreSQL store is backed up with pg_dump.")]
pub(super) struct Backup {
    /// The server's configuration.
    #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file to create. It must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Backup {
    pub(super) fn run(self, _: &mut Output) -> Result<(), Failure> {
        let config = load(self.config.as_deref())?;
        let (StoreLocation::Sqlite(store) | StoreLocation::Declared { state: Some(store), .. }) =
            &config.store.location
        else {
            return Err(
                Failure::usage("the store is not a file").next("back up PostgreSQL with pg_dump --format=custom")
            );
        };
        runtime()?.block_on(SqliteStore::back_up(store, &self.to)).map_err(|error| {
            if matches!(error, StoreError::AlreadyExists) {
                return Failure::usage(format!("{} exists already", self.to.display()));
            }
            Failure::failed(format!("{} cannot be copied", store.display()), error)
        })?;
        note(format_args!("{} is a copy of {}.", self.to.display(), store.display()));
        Ok(())
    }
}
