//! The program, as its users run it: arguments in, output, exit code and files out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod admin;
mod agent;
mod audit_destination;
mod audit_stream;
mod backup;
mod check;
mod client_certificate;
mod connection;
mod declared;
mod dev;
mod file_store;
mod gitops;
mod harness;
mod hash_key;
mod help;
mod import;
mod inspect;
mod json;
mod keys;
mod policy;
mod serve;
mod stop;
mod token;
mod traces;
mod upgrade;
mod workload;
