//! Tests SQLite: the contract in a file and in memory, and the behaviour of a file.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tempfile::TempDir;
use token_interceptor::{
    clock::SystemClock,
    signature::{Algorithm, SigningKey},
};
use token_issuer::{
    client::{Client, ClientId},
    client_registry::ClientRegistry,
    feed::{Feed, FeedSettings},
    key::{ImportedKey, KeyRotation, KeySettings, Schedule, SealingKeys},
    key_material::KeyMaterial,
    store::{ClientStore as _, KeyStore, Store, StoreError},
};
use token_store::sqlite::SqliteStore;

async fn in_file() -> Option<(Arc<dyn Store>, TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("token-server.db")).await.unwrap();
    Some((Arc::new(store), folder))
}

async fn in_memory() -> Option<(Arc<dyn Store>, ())> {
    Some((Arc::new(SqliteStore::open_in_memory().await.unwrap()), ()))
}

mod file {
    crate::contract::contract!(super::in_file);
}

mod memory {
    crate::contract::contract!(super::in_memory);
}

fn orders() -> Client {
    Client::new(ClientId::try_from("orders").unwrap(), std::time::SystemTime::UNIX_EPOCH)
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_named_with_what_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(&folder.path().join("not-there/token-server.db")).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("not-there/token-server.db") && said.contains("its folder must exist"), "{said}");
}

#[tokio::test]
async fn a_change_that_cannot_be_put_on_record_is_not_made() {
    use sqlx::{Connection as _, Executor as _};
    let (store, folder) = in_file().await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON admin_audit BEGIN SELECT RAISE(ABORT, 'refused'); END";
    let without_record = async || {
        let url = format!("sqlite://{}/token-server.db", folder.path().display());
        sqlx::SqliteConnection::connect(&url).await.unwrap().execute(refuse).await.unwrap();
    };
    crate::contract::no_change_without_its_record(store, without_record).await;
}

#[tokio::test]
async fn what_was_acknowledged_survives_an_end_without_closing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let created = store.create_client(&orders(), None).await.unwrap();
    // The state after `kill -9`: the files as they are while the store is open.
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap().flatten() {
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let reopened = SqliteStore::open(&copy.path().join("token-server.db")).await.unwrap();
    assert_eq!(reopened.client(&created.id).await.unwrap(), Some(created));
}

#[tokio::test]
async fn another_process_sees_a_change_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let (one, other) = (SqliteStore::open(&path).await.unwrap(), SqliteStore::open(&path).await.unwrap());
    let created = one.create_client(&orders(), None).await.unwrap();
    assert_eq!(other.client(&created.id).await.unwrap(), Some(created));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_can_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let path = folder.path().join("token-server.db");
        tokio::spawn(async move { SqliteStore::open(&path).await.map(drop) })
    };
    for task in (0..6).map(|_| open()).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let text = "this is a private letter, not a database\n".repeat(50);
    std::fs::write(&path, &text).unwrap();
    let error = SqliteStore::open(&path).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(&folder.path().join("missing/token-server.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;

    let (store, folder) = in_file().await.unwrap();
    store.create_client(&orders(), None).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
    assert!(files.len() >= 2, "database and journal");
    for file in files {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.file_name());
    }
}

/// `token-server client create --offline` beside a running server: another process on the same file.
#[tokio::test]
async fn a_change_by_another_process_is_in_effect_within_a_second() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let (server, command) =
        (Arc::new(SqliteStore::open(&path).await.unwrap()), SqliteStore::open(&path).await.unwrap());
    let feed = Feed::start(Arc::clone(&server) as _, FeedSettings::default()).await.unwrap();
    let registry = ClientRegistry::new(server);
    registry.follow(&feed);
    assert!(registry.find(&orders().id).await.unwrap().is_none(), "and remembered as unknown");
    command.create_client(&orders(), None).await.unwrap();
    let acknowledged = Instant::now();
    while registry.find(&orders().id).await.unwrap().is_none() {
        assert!(acknowledged.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_made_while_others_write_is_a_store_of_one_moment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let store = Arc::new(SqliteStore::open(&path).await.unwrap());
    let created = store.create_client(&orders(), None).await.unwrap();
    let writer = tokio::spawn({
        let store = Arc::clone(&store);
        async move {
            for n in 0..50 {
                let id = ClientId::try_from(format!("client-{n:02}")).unwrap();
                store.create_client(&Client { id, ..orders() }, None).await.unwrap();
            }
        }
    });
    let copy = folder.path().join("copy.db");
    SqliteStore::back_up(&path, &copy).await.unwrap();
    writer.await.unwrap();
    let restored = SqliteStore::open(&copy).await.unwrap();
    assert_eq!(restored.client(&created.id).await.unwrap(), Some(created));
    let names: Vec<_> = restored.clients(None, 100).await.unwrap().into_iter().map(|client| client.id).collect();
    let written = names.iter().filter(|name| name.as_str().starts_with("client-")).count();
    for n in 0..written {
        assert!(names.contains(&ClientId::try_from(format!("client-{n:02}")).unwrap()), "{n} of {written}");
    }
    assert!(matches!(SqliteStore::back_up(&path, &copy).await.unwrap_err(), StoreError::AlreadyExists));
    let nothing = folder.path().join("nothing.db");
    assert!(SqliteStore::back_up(&folder.path().join("missing.db"), &nothing).await.unwrap_err().is_transient());
    assert!(!nothing.exists(), "what is there would be taken for a backup");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[tokio::test]
async fn no_private_key_is_in_the_database_file() {
    let (store, folder) = in_file().await.unwrap();
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*der));
    let imported = ImportedKey::from_pem(Algorithm::Es256, pem.as_bytes()).unwrap();
    let schedule = Schedule {
        algorithms: vec![Algorithm::Es256],
        period: Duration::from_secs(1000),
        visibility: Duration::from_secs(100),
        retention: Duration::from_secs(50),
    };
    let settings = KeySettings { schedule, imported: vec![imported], lifetimes: None };
    let sealing = SealingKeys::new(KeyMaterial::from_bytes([1; 32]), vec![]);
    let store = store as Arc<dyn KeyStore>;
    let rotation = KeyRotation::start(store, sealing, settings, Arc::new(SystemClock)).await.unwrap();
    let key_id = rotation.ring().published().keys[0].jwk.key_id().to_owned();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().map(|file| file.path()).collect();
    let contents: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let found = |needle: &[u8]| contents.iter().any(|bytes| bytes.windows(needle.len()).any(|found| found == needle));
    assert!(found(key_id.as_bytes()), "the key is there, by its ID");
    // The 32 bytes of the private scalar in ring's PKCS#8, and every half of them.
    assert!(der[36..68].windows(16).all(|half| !found(half)));
    assert!(!found(&der[..36]), "nor the beginning of the document");
}
