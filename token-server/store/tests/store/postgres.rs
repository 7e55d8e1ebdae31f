//! Tests PostgreSQL: the contract, and the behaviour of several replicas.

use std::{
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use token_issuer::{
    client::{Client, ClientId},
    client_registry::ClientRegistry,
    feed::{Feed, FeedSettings},
    store::{AssertionStore as _, ChangeLog as _, ClientStore as _, Store, StoreError},
};
use token_store::postgres::PostgresStore;

use crate::temporary_postgres::TemporaryPostgres;

async fn open() -> Option<(Arc<dyn Store>, ())> {
    let url = TemporaryPostgres::get()?.database().url;
    Some((Arc::new(PostgresStore::open(&url).await.unwrap()), ()))
}

crate::contract::contract!(open);

fn orders() -> Client {
    Client::new(ClientId::try_from("orders").unwrap(), SystemTime::UNIX_EPOCH)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_put_on_record_is_not_made() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let database = server.database();
    let store = Arc::new(PostgresStore::open(&database.url).await.unwrap());
    let without_record = async || {
        database.query("ALTER TABLE admin_audit ADD CONSTRAINT refuse CHECK (false) NOT VALID");
    };
    crate::contract::no_change_without_its_record(store, without_record).await;
}

/// A feed that learns of changes only by notice: its poll interval is one hour.
async fn by_notice(store: &Arc<PostgresStore>) -> Feed {
    let settings = FeedSettings { poll_interval: Duration::from_secs(3600), ..FeedSettings::default() };
    Feed::start(Arc::clone(store) as _, settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_can_start_on_a_new_database_at_once() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let database = server.database();
    let url = &database.url;
    let start = || {
        let url = url.clone();
        tokio::spawn(async move { PostgresStore::open(&url).await.map(drop) })
    };
    for task in (0..6).map(|_| start()).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(database.query("SELECT count(*) = max(version) FROM _sqlx_migrations WHERE success"), "t", "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_one_replica_reaches_the_memory_of_another_by_notice() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let url = server.database().url;
    let one = PostgresStore::open(&url).await.unwrap();
    let other = Arc::new(PostgresStore::open(&url).await.unwrap());
    let feed = by_notice(&other).await;
    let registry = ClientRegistry::new(Arc::clone(&other) as _);
    registry.follow(&feed);
    assert!(registry.find(&orders().id).await.unwrap().is_none());
    let mut events = feed.subscribe();
    one.create_client(&orders(), None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("notice received");
    // The registry has its own subscription to the feed.
    let found = async || {
        while registry.find(&orders().id).await.unwrap().is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), found()).await.expect("in effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_while_the_connection_was_lost_is_read_afterwards() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let database = server.database();
    let one = PostgresStore::open(&database.url).await.unwrap();
    let other = Arc::new(PostgresStore::open(&database.url).await.unwrap());
    let feed = by_notice(&other).await;
    let mut events = feed.subscribe();
    let listening = "FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()";
    while database.query(&format!("SELECT count(*) {listening}")) != "2" {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.query(&format!("SELECT count(pg_terminate_backend(pid)) {listening}")), "2");
    one.create_client(&orders(), None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("notice received").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sequence_numbers_become_visible_in_their_order() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let url = server.database().url;
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let write = |writer: u32| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for n in 0..20 {
                let id = ClientId::try_from(format!("{writer}-{n}")).unwrap();
                store.create_client(&Client::new(id, SystemTime::UNIX_EPOCH), None).await.unwrap();
            }
        })
    };
    let writers: Vec<_> = (0..4).map(write).collect();
    let (mut seen, mut count) = (0, 0);
    while count < 80 {
        for change in store.changes_from(seen + 1, 100).await.unwrap().changes {
            assert!(change.sequence > seen);
            (seen, count) = (change.sequence, count + 1);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.changes_from(0, 1000).await.unwrap().changes.len(), 80, "no change was skipped");
}

#[tokio::test]
async fn a_database_out_of_reach_is_unavailable() {
    let error = PostgresStore::open("postgres://u@127.0.0.1:1/none").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

/// Several servers in the URL, in any order.
#[tokio::test(flavor = "multi_thread")]
async fn of_several_servers_the_one_is_used_that_can_be_written() {
    let Some((primary, port)) = TemporaryPostgres::on_a_port() else { return };
    let database = primary.database();
    let (_standby, standby_port) = primary.standby();
    let url = |hosts: &str| format!("postgres://test@{hosts}/{}?target_session_attrs=read-write", database.name);
    for hosts in [
        format!("127.0.0.1:1,127.0.0.1:{standby_port},127.0.0.1:{port}"),
        format!("127.0.0.1:{port},127.0.0.1:{standby_port}"),
    ] {
        let store = PostgresStore::open(&url(&hosts)).await.unwrap();
        let id = ClientId::try_from(hosts.replace([':', ','], "-")).unwrap();
        store.create_client(&Client::new(id, SystemTime::UNIX_EPOCH), None).await.unwrap();
    }
    let error = PostgresStore::open(&url(&format!("127.0.0.1:{standby_port}"))).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap();
    assert!(std::error::Error::source(source).unwrap().to_string().contains("standby"), "{error:?}");
}

/// Returns 1 while another session holds an exclusive lock on the table of clients.
const LOCKED: &str = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                      AND relation = 'client'::regclass";

/// S4: lookups that strangers cause can exhaust only their own pool.
#[tokio::test(flavor = "multi_thread")]
async fn lookups_that_hang_delay_no_decision_and_no_feed() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let database = server.database();
    let store = Arc::new(PostgresStore::open(&database.url).await.unwrap());
    store.create_client(&orders(), None).await.unwrap();
    let locked = "BEGIN; LOCK TABLE client IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT";
    std::thread::scope(|scope| {
        scope.spawn(|| database.query(locked));
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(async {
                while database.query(LOCKED) != "1" {}
                let lookups: Vec<_> = (0..100)
                    .map(|_| {
                        let store = Arc::clone(&store);
                        tokio::spawn(async move { store.lookup(&orders().id).await })
                    })
                    .collect();
                let begun = std::time::Instant::now();
                assert!(store.use_assertion(&[1; 32], SystemTime::UNIX_EPOCH).await.unwrap());
                assert!(!store.use_assertion(&[1; 32], SystemTime::UNIX_EPOCH).await.unwrap());
                store.changes_from(0, 10).await.unwrap();
                store.last_change().await.unwrap();
                assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
                let (mut busy, mut found) = (0, 0);
                for lookup in lookups {
                    match lookup.await.unwrap() {
                        Err(StoreError::Busy) => busy += 1,
                        Ok(Some(_)) => found += 1,
                        other => panic!("{other:?}"),
                    }
                }
                assert!(busy > 90 && found > 0, "{busy} {found}");
            });
        });
    });
}

/// Starts PgBouncer in front of `database` in one of its modes, as managed databases do. Returns its process
/// and the URL.
fn pooler(database: &crate::temporary_postgres::Database, port: u16, mode: &str) -> Option<(Pooler, String)> {
    const BINARY: &str = "/usr/sbin/pgbouncer";
    if !std::path::Path::new(BINARY).exists() {
        assert!(std::env::var_os("REQUIRE_PGBOUNCER").is_none(), "no PgBouncer: install the package pgbouncer");
        eprintln!("SKIPPED: no PgBouncer. Install the package pgbouncer to run this test.");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let name = &database.name;
    let settings = format!(
        "[databases]\n{name} = host=127.0.0.1 port={port} dbname={name} user=test\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = {own}\nauth_type = any\npool_mode = {mode}\nunix_socket_dir =\n"
    );
    let file = folder.path().join("pgbouncer.ini");
    std::fs::write(&file, settings).unwrap();
    // PgBouncer does not run as root.
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let mut command = std::process::Command::new(BINARY);
    command.arg("-q").arg(&file).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.uid(65534).gid(65534);
    }
    let pooler = Pooler { child: command.spawn().unwrap(), _folder: folder };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", own)).is_err() {
        assert!(std::time::Instant::now() < deadline, "PgBouncer starts");
        std::thread::yield_now();
    }
    Some((pooler, format!("postgres://test@127.0.0.1:{own}/{name}?sslmode=disable")))
}

struct Pooler {
    child: std::process::Child,
    _folder: tempfile::TempDir,
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// F21, T10: works without any setting in PgBouncer.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_session_mode_keeps_time_limits() {
    let Some((server, port)) = TemporaryPostgres::on_a_port() else { return };
    let database = server.database();
    let Some((_pooler, url)) = pooler(&database, port, "session") else { return };
    let store = Arc::new(PostgresStore::open(&url).await.unwrap());
    let feed = by_notice(&store).await;
    let mut events = feed.subscribe();
    store.create_client(&orders(), None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("notice received").unwrap();
    // The time limit ends a statement that waits for a lock.
    std::thread::scope(|scope| {
        scope.spawn(|| database.query("BEGIN; LOCK TABLE client IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8); COMMIT"));
        while database.query(LOCKED) != "1" {}
        let error = tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(store.client(&orders().id)).unwrap_err()
        });
        assert!(format!("{error:?}").contains("timeout"), "{error:?}");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_in_transaction_mode_is_refused_with_a_sentence() {
    for mode in ["transaction", "statement"] {
        let Some((server, port)) = TemporaryPostgres::on_a_port() else { return };
        let database = server.database();
        let Some((_pooler, url)) = pooler(&database, port, mode) else { return };
        let error = PostgresStore::open(&url).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("transaction mode") && source.contains("session mode"), "{mode}: {error:?}");
    }
}

/// Returns a CA certificate, and a certificate for `localhost` with its key, all in PEM.
fn authority() -> (String, String, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let root = params.self_signed(&key).unwrap().pem();
    let authority = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (root, leaf.pem(), key.serialize_pem())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_by_tls_must_show_a_certificate_for_its_name_by_an_authority_that_is_trusted() {
    let (root, certificate, key) = authority();
    let Some((server, port)) = TemporaryPostgres::with_tls(&certificate, &key) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (trusted, other) = (folder.path().join("trusted.pem"), folder.path().join("other.pem"));
    std::fs::write(&trusted, root).unwrap();
    std::fs::write(&other, authority().0).unwrap();
    let database = server.database();
    let open = async |host: &str, parameters: &str| {
        PostgresStore::open(&format!("postgres://test@{host}:{port}/{}?{parameters}", database.name)).await
    };
    let root = |file: &std::path::Path| format!("sslmode=verify-full&sslrootcert={}", file.display());

    let store = open("localhost", &root(&trusted)).await.unwrap();
    store.create_client(&orders(), None).await.unwrap();
    let encrypted = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE application_name = 'token-server'";
    assert_eq!(database.query(encrypted), "t");

    for (host, parameters, why) in [
        ("localhost", root(&other), "another authority"),
        ("127.0.0.1", root(&trusted), "a certificate for another name"),
        ("localhost", "sslmode=verify-full".to_owned(), "an authority that the world does not know"),
        ("localhost", "sslmode=disable".to_owned(), "plaintext to a server that takes none"),
    ] {
        let error = open(host, &parameters).await.expect_err(why);
        assert!(error.is_transient(), "{why}: {error:?}");
    }
}
