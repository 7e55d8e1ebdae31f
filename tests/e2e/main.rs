//! End-to-end tests: a real issuer with TLS on a loopback port, and real clients. One module per scenario.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod admin;
mod application;
mod chain;
mod harness;
mod keys;
mod private_key;
mod service;
mod trust;
mod walk;
