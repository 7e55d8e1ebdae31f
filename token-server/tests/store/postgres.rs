//! PostgreSQL: the contract, and what only several replicas can show.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use token_server::{
    client::{Client, ClientId},
    client_registry::ClientRegistry,
    feed::{Feed, FeedSettings},
    store::{ChangeLog as _, ClientStore as _, Store, postgres::PostgresStore},
};

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

/// A feed that hears of nothing but by notice: it would poll once in an hour.
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
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("heard of it");
    // The registry has its own place in the feed.
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
    tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("heard of it").unwrap();
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
    assert_eq!(store.changes_from(0, 1000).await.unwrap().changes.len(), 80, "none was passed over");
}

#[tokio::test]
async fn a_database_out_of_reach_is_unavailable() {
    let error = PostgresStore::open("postgres://u@127.0.0.1:1/none").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

/// A certificate authority, and a certificate of its for `localhost` with its key; all PEM.
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
