//! Runs one contract against all stores.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "clippy's exception for tests does not reach what they share"
)]

mod contract;
mod declared;
mod double;
#[cfg(unix)]
mod postgres;
mod sqlite;
#[cfg(unix)]
mod temporary_postgres;
mod upgrade;
