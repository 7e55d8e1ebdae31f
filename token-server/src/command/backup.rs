//! `token-server backup`: a copy of the SQLite store while the server runs.

use std::path::{Path, PathBuf};

use clap::Args;
use sqlx::{ConnectOptions as _, Connection as _, sqlite::SqliteConnectOptions};

use super::{
    failure::Failure,
    output::{Output, note},
    runtime,
    serve::load,
};
use crate::{private_file, store::StoreLocation};

/// Writes a consistent copy of the SQLite store to a new file, also while the server runs.
///
/// The copy is of no use without the sealing key and the pepper, which are kept elsewhere; keep those, and keep them
/// apart from it. To restore, stop the server, put the copy in the store's place without -wal and -shm files beside
/// it, and start the server.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  token-server backup --config /etc/token-server/token-server.toml --to /backup/token-server-$(date +%F).db

A PostgreSQL store is backed up with pg_dump.")]
pub(super) struct Backup {
    /// The server's configuration.
    #[arg(long, env = "TOKEN_SERVER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file to write; it must not exist.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

impl Backup {
    pub(super) fn run(self, _: &mut Output) -> Result<(), Failure> {
        let config = load(self.config.as_deref())?;
        let StoreLocation::Sqlite(store) = &config.store.location else {
            return Err(Failure::usage("the store is PostgreSQL").next("back it up with pg_dump --format=custom"));
        };
        private_file::reserve(&self.to).map_err(|error| {
            Failure::usage(format!("cannot make the new file {}", self.to.display())).because(error)
        })?;
        let copied = runtime()?.block_on(copy(store, &self.to));
        if let Err(error) = copied {
            // What is there is no backup.
            let _ = std::fs::remove_file(&self.to);
            return Err(Failure::failed(format!("{} cannot be copied", store.display()), error));
        }
        note(format_args!("{} is a copy of {}.", self.to.display(), store.display()));
        Ok(())
    }
}

/// One read transaction: what is committed meanwhile is not in the copy, and nothing is half in it.
async fn copy(store: &Path, to: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(store).read_only(true);
    let mut connection = options.disable_statement_logging().connect().await?;
    sqlx::query("VACUUM INTO ?1").bind(to.to_string_lossy().into_owned()).execute(&mut connection).await?;
    connection.close().await
}
