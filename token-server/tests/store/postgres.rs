//! PostgreSQL: the contract, and what only several replicas can show.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use token_server::{
    client::{Client, ClientId, registry::ClientRegistry},
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

/// A feed that hears of nothing but by notice: it would poll once in an hour.
async fn by_notice(store: &Arc<PostgresStore>) -> Feed {
    let settings = FeedSettings { poll_interval: Duration::from_secs(3600), ..FeedSettings::default() };
    Feed::start(Arc::clone(store) as _, settings).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_can_start_on_a_new_database_at_once() {
    let Some(server) = TemporaryPostgres::get() else { return };
    let url = server.database().url;
    let start = || {
        let url = url.clone();
        tokio::spawn(async move { PostgresStore::open(&url).await.map(drop) })
    };
    for task in (0..6).map(|_| start()).collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
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
        for change in store.changes_after(seen, 100).await.unwrap() {
            assert!(change.sequence > seen);
            (seen, count) = (change.sequence, count + 1);
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(store.changes_after(0, 1000).await.unwrap().len(), 80, "none was passed over");
}

#[tokio::test]
async fn a_database_out_of_reach_is_unavailable() {
    let error = PostgresStore::open("postgres://u@127.0.0.1:1/none").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}
