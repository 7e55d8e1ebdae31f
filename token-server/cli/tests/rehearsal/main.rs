//! Rehearses the promise of the handbook (`docs/operations/rehearsal.md`): three replicas with TLS over
//! PostgreSQL with TLS, under constant load.
//!
//! Keys, secrets and certificates rotate, replicas and the database are killed, and a backup is restored and
//! served from. Each step must show on `/metrics`. No call may fail except at a replica that is down, no
//! answer may be wrong, and no acknowledged change may be lost.
//!
//! `just rehearse SECONDS` is the long form. Without `REHEARSAL_SECONDS`, the rehearsal is as short as
//! possible.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "clippy's exception for tests does not reach what they share"
)]

#[path = "../../../tests/server/ca.rs"]
mod ca;
#[allow(dead_code, reason = "what the tests in ../replicas need beside")]
#[path = "../replicas/cluster.rs"]
mod cluster;
mod failover;
#[path = "../replicas/load.rs"]
mod load;
mod outages;
mod record;
mod restore;
mod rotations;
mod shown;
mod side;
#[allow(dead_code, reason = "what other tests need beside")]
#[path = "../../../store/tests/store/temporary_postgres.rs"]
mod temporary_postgres;
mod world;

use world::{Length, World};

#[tokio::test(flavor = "multi_thread")]
async fn everything_rotates_and_anything_dies_under_load_and_each_is_seen() {
    let length = Length::from_environment();
    let Some(mut world) = World::start(length).await else { return };
    world.nothing_happens().await;
    world.a_signing_key_rotates().await;
    world.a_signing_key_has_leaked().await;
    world.a_token_is_revoked().await;
    world.a_secret_rotates().await;
    world.sealing_key_and_pepper_rotate().await;
    world.server_certificates_rotate().await;
    world.client_ca_rotates().await;
    for number in 0..length.kills {
        world.a_replica_is_killed(number).await;
    }
    world.postgres_is_killed().await;
    world.a_backup_is_restored().await;
    world.end().await;
}
