//! Tests several servers over one PostgreSQL. Each runs in its own process, and some are killed.

#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "clippy's exception for tests does not reach what they share"
)]

mod cluster;
mod kills;
mod load;
mod together;
#[path = "../../../store/tests/store/temporary_postgres.rs"]
mod temporary_postgres;
