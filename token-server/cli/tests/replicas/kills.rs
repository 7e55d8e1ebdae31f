//! `kill -9` of a replica and of PostgreSQL under load: no acknowledged change is lost, no answer is wrong,
//! and no call fails outside the outage.

use std::time::{Duration, Instant};

use token_proto::admin::v1 as admin;
use tonic::Code;

use crate::{
    cluster::{Cluster, Identity, within_a_second},
    load::{Call, Load, times},
    temporary_postgres::TemporaryPostgres,
};

/// The number of calls that each replica serves between two steps.
const SOME: usize = 300;

fn failures(calls: &[Call]) -> Vec<&Call> {
    calls.iter().filter(|call| call.outcome.is_err()).collect()
}

async fn known_everywhere(cluster: &Cluster, client: &Identity) {
    for replica in &cluster.replicas {
        within_a_second("created", async || replica.token(client).await.is_ok()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_is_missed_by_its_own_callers_alone() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let orders = cluster.create(0, "orders").await.unwrap();
    known_everywhere(&cluster, &orders).await;
    let [victim, others @ ..] = &cluster.replicas;
    let (on_victim, on_others) =
        (Load::start(&[(0, victim)], &orders), Load::start(&[(1, &others[0]), (2, &others[1])], &orders));
    on_victim.served(SOME).await;
    cluster.replicas[0].kill();
    let acknowledged = cluster.create(1, "created-meanwhile").await.unwrap();
    on_others.served(SOME).await;
    cluster.replicas[0].start_again().await;
    on_victim.served(SOME).await;
    let (on_victim, on_others) = (on_victim.stop().await, on_others.stop().await);
    assert!(failures(&on_others).is_empty(), "{:?}", failures(&on_others));
    assert!(!failures(&on_victim).is_empty(), "it was down");
    for call in failures(&on_victim) {
        let code = call.outcome.as_ref().unwrap_err().code();
        assert!(matches!(code, Code::Unavailable | Code::Unknown | Code::Cancelled), "{call:?}");
    }
    assert!(on_victim.iter().rev().take(20).all(|call| call.outcome.is_ok()), "it serves again");
    assert!(cluster.replicas[0].token(&acknowledged).await.is_ok());
    report("replica killed, others", &on_others);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_postgres_killed_known_clients_still_get_tokens_and_nothing_acknowledged_is_lost() {
    let Some(postgres) = TemporaryPostgres::of_its_own() else { return };
    let cluster = Cluster::start_on(postgres).await;
    let orders = cluster.create(0, "orders").await.unwrap();
    let doomed = cluster.create(1, "doomed").await.unwrap();
    known_everywhere(&cluster, &orders).await;
    known_everywhere(&cluster, &doomed).await;
    let mut clients = cluster.replicas[2].clients(&cluster.root).await.unwrap();
    let request = admin::DeleteClientRequest { client_id: doomed.id.clone(), ..admin::DeleteClientRequest::default() };
    clients.delete_client(request).await.unwrap();
    for replica in &cluster.replicas {
        within_a_second("removed", async || replica.token(&doomed).await.is_err()).await;
    }
    let replicas: Vec<_> = cluster.replicas.iter().enumerate().collect();
    let load = Load::start(&replicas, &orders);
    load.served(SOME).await;

    let last = cluster.create(0, "last-before").await.unwrap();
    postgres.kill();
    let refused = cluster.create(0, "during").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
    for replica in &cluster.replicas {
        assert!(replica.token(&doomed).await.is_err(), "an outage brings no removed client back");
    }
    load.served(SOME).await;
    postgres.start_again();
    let begun = Instant::now();
    while cluster.create(1, "after").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20), "heals by itself");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    load.served(SOME).await;

    let calls = load.stop().await;
    assert!(failures(&calls).is_empty(), "{:?}", failures(&calls));
    for replica in &cluster.replicas {
        within_a_second("still there", async || replica.token(&last).await.is_ok()).await;
        assert!(replica.token(&doomed).await.is_err());
    }
    assert_eq!(cluster.database.query("SELECT count(*) FROM client WHERE id = 'doomed'"), "0");
    report("postgres killed, all", &calls);
}

/// Prints figures, which `--nocapture` shows.
fn report(what: &str, calls: &[Call]) {
    let [p50, p99, max] = times(&calls.iter().collect::<Vec<_>>());
    let failed = failures(calls).len();
    eprintln!("{what}: {} calls, {failed} failed, p50 {p50:?}, p99 {p99:?}, max {max:?}", calls.len());
}
