//! Outages of replicas and of the database.

use std::time::{Duration, Instant};

use tonic::Code;

use crate::{
    shown,
    world::{DEADLINE, World, eventually},
};

const STARTED: &str = "token_server_start_time_seconds";
const REACHABLE: &str = "token_server_store_reachable";
const FAILURES: &str = "token_server_change_feed_failures_total";

impl World {
    /// Kills a replica. Only its own callers are affected. After its restart it knows the changes
    /// acknowledged meanwhile.
    pub(crate) async fn a_replica_is_killed(&mut self, number: usize) {
        self.record.begin("kill -9 of a replica", STARTED);
        let started = self.shown(number, STARTED).await;
        let from = Instant::now();
        self.replicas[number].kill();
        assert_eq!(shown::value(self.operations[number], "token_server_ready").await, None, "nothing answers");
        self.create((number + 1) % 3, &format!("while-{number}-was-down")).await;
        self.hold().await;
        self.replicas[number].start_again().await;
        shown::until(self.operations[number], STARTED, |now| now > started).await;
        self.record.outage(Some(number), from);
        self.hold().await;
    }

    /// Kills the database. Token requests are unaffected; the server answers changes with `UNAVAILABLE`.
    pub(crate) async fn postgres_is_killed(&mut self) {
        let patient = self.length.patient;
        self.record.begin("kill -9 of PostgreSQL", if patient { REACHABLE } else { FAILURES });
        self.create(0, "last-before").await;
        for replica in &self.replicas {
            let last = self.acknowledged.last().unwrap();
            eventually("created", async || replica.token(last).await.is_ok()).await;
        }
        let mut failures = Vec::new();
        for number in 0..3 {
            failures.push(self.shown(number, FAILURES).await);
        }
        self.postgres.kill();
        let refused = self.replicas[0].create(&self.root, "during").await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        for (number, before) in failures.into_iter().enumerate() {
            shown::until(self.operations[number], FAILURES, |now| now > before).await;
        }
        if patient {
            self.all_show(REACHABLE, |reachable| reachable == 0.0).await;
        }
        self.hold().await;
        self.postgres.start_again();
        let begun = Instant::now();
        loop {
            match self.replicas[1].create(&self.root, "after").await {
                Ok(client) => break self.acknowledged.push(client),
                Err(error) => assert!(begun.elapsed() < DEADLINE, "heals by itself: {error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.all_show("token_server_change_feed_listening", |listening| listening == 1.0).await;
        let reached = self.shown(1, "token_server_change_feed_sequence").await;
        self.all_show("token_server_change_feed_sequence", |sequence| sequence >= reached).await;
        if patient {
            self.all_show(REACHABLE, |reachable| reachable == 1.0).await;
        }
        self.hold().await;
    }
}
