//! The issuer as it is deployed, with everything on: durable SQLite, change feed, limits, metrics, log at
//! info and the audit stream.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use token_interceptor::clock::{Clock as _, SystemClock};
use token_issuer::{
    client::{
        Client, Credential, CredentialKind, Grant,
        secret::{ClientSecret, Pepper, Peppers},
    },
    store::{ClientStore as _, Store as _},
};
use token_server::config::Config;
use token_store::sqlite::SqliteStore;

use crate::process::Server;

/// The client of the requests, unless a measurement needs many clients.
pub(crate) const CLIENT_ID: &str = "orders";

/// One of many.
pub(crate) fn client_id(number: usize) -> String {
    format!("client-{number:07}")
}

/// The secret of every client, generated once.
pub(crate) fn secret() -> &'static str {
    static SECRET: OnceLock<ClientSecret> = OnceLock::new();
    SECRET.get_or_init(|| ClientSecret::generate().unwrap()).expose()
}

/// A folder with keys, a configuration and a store with clients in it.
pub(crate) struct Site {
    folder: tempfile::TempDir,
    settings: String,
}

impl Site {
    /// A site with [`CLIENT_ID`] and so many other clients; `settings` are further sections of the
    /// configuration.
    pub(crate) fn new(clients: usize, listen: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = "0123456789abcdef".repeat(4);
        for name in ["sealing.key", "pepper.key"] {
            let path = folder.path().join(name);
            fs::write(&path, &key).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        let site = Self { settings: format!("{}\n{settings}", common(folder.path(), listen)), folder };
        fs::write(site.config_file(), &site.settings).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(site.register(clients));
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[allow(dead_code, reason = "for benches that start the server in their own process")]
    pub(crate) fn settings(&self) -> &str {
        &self.settings
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.path("token-server.toml")
    }

    /// The running program.
    pub(crate) fn start(&self) -> Server {
        Server::start(&mut self.command()).unwrap()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_token-server"));
        command.args(["serve", "--config"]).arg(self.config_file());
        command
    }

    async fn register(&self, clients: usize) {
        let config = Config::read(Some((Path::new("bench.toml"), &self.settings)), []).unwrap();
        let peppers = Peppers::new(Pepper::new(&config.secrets.pepper), vec![]);
        let file = self.path("issuer.db");
        let store = SqliteStore::open(&file).await.unwrap();
        store.create_client(&client(&peppers), None).await.unwrap();
        store.close().await;
        if clients > 0 {
            copies(&file, clients).await;
        }
    }
}

/// One worker, like the floors.
fn common(folder: &Path, listen: &str) -> String {
    let folder = folder.display();
    format!(
        r#"
        [issuer]
        url = "https://issuer.example"
        [listen]
        address = "127.0.0.1:0"
        {listen}
        [keys]
        sealing_key_file = "{folder}/sealing.key"
        [secrets]
        pepper_file = "{folder}/pepper.key"
        [telemetry]
        audit = "{folder}/audit.log"
        [store]
        url = "sqlite://{folder}/issuer.db"
        "#
    )
}

fn client(peppers: &Peppers) -> Client {
    let now = SystemClock.now();
    let scopes = |names: &[&str]| names.iter().map(|name| (*name).try_into().unwrap()).collect();
    let mut client = Client::new(CLIENT_ID.try_into().unwrap(), now);
    client.grants = vec![Grant {
        audience: "inventory".try_into().unwrap(),
        scopes: scopes(&["inventory.read", "inventory.write"]),
        default_scopes: scopes(&["inventory.read"]),
    }];
    client.credentials = vec![Credential {
        id: "c1".to_owned(),
        kind: CredentialKind::Secret(peppers.hash(&ClientSecret::parse(secret()).unwrap())),
        create_time: now,
        expire_time: None,
        last_used_time: None,
    }];
    client
}

/// The same client under other IDs, in one transaction: a million of them by the API would take an hour of
/// fsync.
async fn copies(file: &Path, clients: usize) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::query(
        "WITH RECURSIVE numbers (n) AS (VALUES (0) UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ?1) \
         INSERT INTO client (id, revision, document) \
         SELECT printf('client-%07d', n), client.revision, client.document FROM numbers, client WHERE client.id = ?2",
    )
    .bind(i64::try_from(clients).unwrap())
    .bind(CLIENT_ID)
    .execute(&pool)
    .await
    .unwrap();
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&pool).await.unwrap();
    pool.close().await;
}
