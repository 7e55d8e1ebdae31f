//! Upgrades of a store that an older version made, with data, while that version still writes.
//!
//! `tests/data/upgrade/*-2.sql` are stores of version 2, before the epoch. Their checksums prove that the
//! migrations of that time have not changed since.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use sqlx::{
    Connection as _, Executor as _, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode},
};
use token_issuer::{
    client::{ClientId, CredentialKind},
    store::{AdminRecordFilter, ChangeLog as _, RevocationTarget, Store, StoreError},
};
use token_store::{Upgrade, sqlite::SqliteStore};

const SQLITE: &str = include_str!("../data/upgrade/sqlite-2.sql");
#[cfg(unix)]
const POSTGRES: &str = include_str!("../data/upgrade/postgres-2.sql");

/// Writes of a server of version 2, in both dialects. Each can be repeated.
const OLD_WRITES: [&str; 6] = [
    "INSERT INTO change_log (kind, subject) VALUES ('client', 'orders')",
    "UPDATE client SET revision = revision + 1 WHERE id = 'orders'",
    "UPDATE credential_use SET last_used = last_used + 1 WHERE client_id = 'orders'",
    "INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES ('token', 'later', 1, 4102444800000)
     ON CONFLICT (kind, target) DO UPDATE SET revoked_before = revocation.revoked_before + 1",
    "UPDATE signing_key_version SET version = version + 1",
    "UPDATE signing_key SET distrust_time = NULL WHERE key_id = 'key-1'",
];

async fn connection(path: &Path) -> SqliteConnection {
    // Every version has kept its file in WAL mode. A change of mode fails while another connection writes.
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let options = options.journal_mode(SqliteJournalMode::Wal);
    SqliteConnection::connect_with(&options.busy_timeout(Duration::from_secs(30))).await.unwrap()
}

async fn old_file(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("token-server.db");
    let mut connection = connection(&path).await;
    connection.execute(sqlx::raw_sql(SQLITE)).await.unwrap();
    connection.close().await.unwrap();
    path
}

fn expect_version_2(upgrade: &Upgrade) {
    assert_eq!((upgrade.from, &*upgrade.unknown), (2, &[][..]));
    let versions: Vec<_> = upgrade.pending.iter().map(|pending| pending.version).collect();
    assert_eq!(versions, (3..=upgrade.to).collect::<Vec<_>>());
    assert!(upgrade.to >= 5);
}

/// Checks that all data of the old store is there.
async fn expect_data(store: &dyn Store) {
    let id = ClientId::try_from("orders").unwrap();
    let client = store.client(&id).await.unwrap().unwrap();
    assert_eq!((client.display_name.as_str(), client.claims["team"].as_str()), ("Orders", "shop"));
    assert_eq!(client.grants[0].scopes.len(), 2);
    assert!(matches!(client.credentials[0].kind, CredentialKind::Secret(_)));
    assert!(client.credentials[0].last_used_time.is_some());
    let keys = store.keys().await.unwrap();
    assert_eq!(keys.keys.iter().map(|key| key.key_id.as_str()).collect::<Vec<_>>(), ["key-1"]);
    let revocations = store.revocations(SystemTime::UNIX_EPOCH).await.unwrap();
    for target in [RevocationTarget::TokenId("jti-1".into()), RevocationTarget::Client(id)] {
        assert!(revocations.iter().any(|revocation| revocation.target == target), "{target:?}");
    }
    let records = store.admin_records(&AdminRecordFilter::default(), None, 10).await.unwrap();
    assert_eq!(records[0].1.action, "CreateClient");
    // An assertion that was used before cannot be used again.
    let far = SystemTime::UNIX_EPOCH + Duration::from_millis(4_102_444_800_000);
    assert!(!store.use_assertion(&[0xab; 32], far).await.unwrap());
}

#[tokio::test]
async fn an_old_file_is_upgraded_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_file(folder.path()).await;
    let before = std::fs::read(&path).unwrap();
    expect_version_2(&SqliteStore::upgrade(&path).await.unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), before, "the look changed the file");
    let store = SqliteStore::open(&path).await.unwrap();
    expect_data(&store).await;
    store.close().await;
    let after = SqliteStore::upgrade(&path).await.unwrap();
    assert_eq!((after.from, after.pending), (after.to, vec![]));
}

#[tokio::test]
async fn a_new_store_needs_every_migration_and_the_look_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    let upgrade = SqliteStore::upgrade(&path).await.unwrap();
    assert_eq!((upgrade.from, upgrade.pending.len()), (0, usize::try_from(upgrade.to).unwrap()));
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_server_writes_on_while_a_file_is_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_file(folder.path()).await;
    let (done, writes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
    let writer = {
        let (done, writes, path) = (Arc::clone(&done), Arc::clone(&writes), path.clone());
        tokio::spawn(async move {
            let mut connection = connection(&path).await;
            while !done.load(Ordering::Acquire) {
                for statement in OLD_WRITES {
                    connection.execute(sqlx::raw_sql(statement)).await.unwrap();
                }
                writes.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    let store = SqliteStore::open(&path).await.unwrap();
    // Writes of the old version are also understood after the upgrade.
    let at_open = writes.load(Ordering::Acquire);
    while writes.load(Ordering::Acquire) < at_open + 2 {
        tokio::task::yield_now().await;
    }
    done.store(true, Ordering::Release);
    writer.await.unwrap();
    expect_data(&store).await;
    assert!(store.last_change().await.unwrap() > 5);
}

#[tokio::test]
async fn a_backup_from_before_the_upgrade_is_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = old_file(folder.path()).await;
    let backup = folder.path().join("backup.db");
    SqliteStore::back_up(&path, &backup).await.unwrap();
    SqliteStore::open(&path).await.unwrap().close().await;
    expect_version_2(&SqliteStore::upgrade(&backup).await.unwrap());
}

/// The server would find a store there, and its upgrade would not be a first start.
#[tokio::test]
async fn a_file_that_cannot_be_looked_for_is_not_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let absent = SqliteStore::upgrade(&folder.path().join("absent.db")).await.unwrap();
    assert_eq!((absent.from, absent.pending.last().map(|pending| pending.version)), (0, Some(absent.to)));
    let no_folder = folder.path().join("file");
    std::fs::write(&no_folder, "").unwrap();
    let error = SqliteStore::upgrade(&no_folder.join("token-server.db")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_store_of_a_later_version_is_named_and_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token-server.db");
    SqliteStore::open(&path).await.unwrap().close().await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (999, 'later', 1, x'00', 0)";
    connection(&path).await.execute(sqlx::raw_sql(later)).await.unwrap();
    assert_eq!(SqliteStore::upgrade(&path).await.unwrap().unknown, [999]);
    assert!(matches!(SqliteStore::open(&path).await.unwrap_err(), StoreError::Corrupt(_)));
}

#[cfg(unix)]
mod postgres {
    use token_store::postgres::PostgresStore;

    use super::*;
    use crate::temporary_postgres::TemporaryPostgres;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_old_database_is_upgraded_while_an_old_server_writes() {
        let Some(server) = TemporaryPostgres::get() else { return };
        let database = server.database();
        expect_new(&PostgresStore::upgrade(&database.url).await.unwrap());
        database.query(POSTGRES);
        expect_version_2(&PostgresStore::upgrade(&database.url).await.unwrap());
        assert_eq!(database.query("SELECT max(version) FROM _sqlx_migrations"), "2", "the look changed the database");
        let backup = database.dump();

        let done = Arc::<AtomicBool>::default();
        let writer = {
            let (done, url) = (Arc::clone(&done), database.url.clone());
            tokio::spawn(async move {
                let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
                let mut writes = 0;
                while !done.load(Ordering::Acquire) || writes == 0 {
                    for statement in OLD_WRITES {
                        connection.execute(sqlx::raw_sql(statement)).await.unwrap();
                    }
                    writes += 1;
                }
                // Also on the new tables.
                for statement in OLD_WRITES {
                    connection.execute(sqlx::raw_sql(statement)).await.unwrap();
                }
            })
        };
        let store = PostgresStore::open(&database.url).await.unwrap();
        done.store(true, Ordering::Release);
        writer.await.unwrap();
        expect_data(&store).await;
        let after = PostgresStore::upgrade(&database.url).await.unwrap();
        assert_eq!((after.from, after.pending), (after.to, vec![]));

        // The way back: the dump from before the upgrade.
        let restored = server.restored(&backup);
        expect_version_2(&PostgresStore::upgrade(&restored.url).await.unwrap());
    }

    fn expect_new(upgrade: &Upgrade) {
        assert_eq!((upgrade.from, upgrade.pending.len()), (0, usize::try_from(upgrade.to).unwrap()));
    }
}
