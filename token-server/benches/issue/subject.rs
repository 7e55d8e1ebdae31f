//! The issuer as it is deployed, everything on: durable SQLite, change feed, limits, metrics, log and audit stream.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use token_interceptor::clock::{Clock as _, SystemClock};
use token_server::{
    client::{
        Client, Credential, CredentialKind, Grant,
        secret::{ClientSecret, Pepper, Peppers},
    },
    config::Config,
    server::Running,
    store::{ClientStore as _, Store as _, sqlite::SqliteStore},
    telemetry,
};

pub(crate) const CLIENT_ID: &str = "orders";

/// Of the client, made once.
pub(crate) fn secret() -> &'static str {
    static SECRET: OnceLock<ClientSecret> = OnceLock::new();
    SECRET.get_or_init(|| ClientSecret::generate().unwrap()).expose()
}

fn client(peppers: &Peppers, now: SystemTime) -> Client {
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

/// One worker, as the floors have.
fn config(folder: &Path) -> Config {
    let key = "0123456789abcdef".repeat(4);
    for name in ["sealing.key", "pepper.key"] {
        std::fs::write(folder.join(name), &key).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(folder.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let folder = folder.display();
    let text = format!(
        r#"
        [issuer]
        url = "http://127.0.0.1:8080"
        [listen]
        address = "127.0.0.1:0"
        threads = 1
        [store]
        url = "sqlite://{folder}/issuer.db"
        [keys]
        sealing_key_file = "{folder}/sealing.key"
        [secrets]
        pepper_file = "{folder}/pepper.key"
        [telemetry]
        audit = "{folder}/audit.log"
        "#
    );
    Config::read(Some((Path::new("bench.toml"), &text)), []).unwrap()
}

async fn register(config: &Config, folder: &Path) {
    let store = SqliteStore::open(&folder.join("issuer.db")).await.unwrap();
    let peppers = Peppers::new(Pepper::new(&config.secrets.pepper), vec![]);
    store.create_client(&client(&peppers, SystemClock.now()), None).await.unwrap();
    store.close().await;
}

/// Serves until the process ends.
pub(crate) fn start() -> SocketAddr {
    let (tell, address) = std::sync::mpsc::channel();
    let serve = async move {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let config = config(folder.path());
        let _writers = telemetry::init(&config.telemetry).unwrap();
        register(&config, folder.path()).await;
        let running = Running::start(config).await.unwrap();
        tell.send(running.local_addr()).unwrap();
        std::future::pending::<()>().await;
        drop((running, folder));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::Builder::new().name("background".to_owned()).spawn(move || runtime.block_on(serve)).unwrap();
    address.recv().unwrap()
}
