//! A failover that loses transactions: the primary dies, and its asynchronous standby lacks the latest
//! changes when it is promoted. A replica that was paused meanwhile then finds a log longer than the one it
//! knew.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use token_proto::admin::v1 as admin;
use tonic::transport::Endpoint;

use crate::{
    cluster::{KEY, Replica, free_ports, root},
    shown,
    temporary_postgres::TemporaryPostgres,
    world::{DEADLINE, eventually},
};

const RESTORED: &str = r#"token_server_change_feed_resyncs_total{reason="restored"}"#;

/// Two replicas on `url`, each with its port and its operations port, ready to serve.
async fn started(folder: &Path, url: &str, ports: [(u16, u16); 2]) -> [Replica; 2] {
    std::fs::write(folder.join("key"), KEY).unwrap();
    let key = folder.join("key").display().to_string();
    let issuer = format!("http://127.0.0.1:{}", ports[0].0);
    let replicas = ports.map(|(port, operations)| {
        let settings = [
            ("ISSUER__URL", issuer.clone()),
            ("LISTEN__ADDRESS", format!("127.0.0.1:{port}")),
            ("LISTEN__OPERATIONS_ADDRESS", format!("127.0.0.1:{operations}")),
            ("STORE__URL", url.to_owned()),
            ("KEYS__SEALING_KEY_FILE", key.clone()),
            ("SECRETS__PEPPER_FILE", key.clone()),
        ];
        let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap();
        Replica::start(&settings, &endpoint, &folder.join(format!("{port}.log")))
    });
    for replica in &replicas {
        replica.await_ready().await;
    }
    replicas
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_changes_is_noticed_by_every_replica() {
    let Some((primary, port)) = TemporaryPostgres::on_a_port() else { return };
    let database = primary.database();
    let (standby, standby_port) = primary.standby();
    let url = format!(
        "postgres://test@127.0.0.1:{port},127.0.0.1:{standby_port}/{}?target_session_attrs=read-write",
        database.name
    );
    let folder = tempfile::tempdir().unwrap();
    let [a, b, c, d]: [u16; 4] = free_ports();
    let replicas = started(folder.path(), &url, [(a, c), (b, d)]).await;
    let [one, away] = &replicas;
    let root = root(&url).await;
    let removed = one.create(&root, "removed").await.unwrap();
    let kept = one.create(&root, "kept").await.unwrap();
    let revoked = one.token(&kept).await.unwrap();
    let in_store = |server: &'static TemporaryPostgres| server.query(&database.name, "SELECT count(*) FROM client");
    let begun = Instant::now();
    while in_store(standby) != "3" {
        assert!(begun.elapsed() < DEADLINE, "the standby follows");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The standby falls behind: changes acknowledged from now on will be lost.
    standby.query("postgres", "ALTER SYSTEM SET primary_conninfo = ''");
    standby.query("postgres", "SELECT pg_reload_conf()");
    while standby.query("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") != "0" {
        assert!(begun.elapsed() < DEADLINE, "the standby stops to follow");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let lost = one.create(&root, "lost").await.unwrap();
    one.create(&root, "lost-too").await.unwrap();
    one.revoke(&kept, &revoked).await.unwrap();
    for client in [&removed, &kept, &lost] {
        eventually("known", async || away.token(client).await.is_ok()).await;
    }
    eventually("revoked", async || !away.is_active(&kept, &revoked).await.unwrap_or(true)).await;

    away.pause();
    primary.kill();
    standby.query("postgres", "SELECT pg_promote()");
    let again = async |id: &str| {
        let id = id.to_owned();
        eventually("the new primary is used", async || one.create(&root, &id).await.is_ok()).await;
    };
    // Make more changes than were lost, among them the deletion of a client, so that sequence numbers are
    // reused.
    again("new-1").await;
    again("new-2").await;
    let mut clients = one.clients(&root).await.unwrap();
    let request = admin::DeleteClientRequest { client_id: removed.id.clone(), ..admin::DeleteClientRequest::default() };
    clients.delete_client(request).await.unwrap();
    for n in 3..9 {
        again(&format!("new-{n}")).await;
    }
    assert_eq!(in_store(standby), "10", "root, the one that is kept, and eight new ones");

    away.resume();
    for operations in [c, d] {
        shown::until(operations, RESTORED, |resyncs| resyncs >= 1.0).await;
    }
    for replica in &replicas {
        eventually("a lost client gets no token", async || replica.token(&lost).await.is_err()).await;
        eventually("a removed client gets no token", async || replica.token(&removed).await.is_err()).await;
        assert!(!replica.is_active(&kept, &revoked).await.unwrap(), "a revocation is never taken back");
        assert!(replica.token(&kept).await.is_ok());
        assert_eq!(replica.key_ids().await.unwrap(), one.key_ids().await.unwrap());
    }
    let client = one.create(&root, "afterwards").await.unwrap();
    eventually("changes reach the other again", async || away.token(&client).await.is_ok()).await;
}
