//! The server in this process: one port, TLS that reloads, limits, draining.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod algorithms;
mod ca;
mod conformance;
mod connect;
mod credentials;
mod drain;
mod ext_authz;
mod framing;
mod harness;
mod hostile;
mod limits;
mod mutated;
mod operators;
mod peers;
mod port;
mod rotation;
mod tls;
mod tls_sessions;
