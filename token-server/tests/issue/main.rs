//! The issue path over both protocols, in one process and without a socket: the demands of each
//! specification, and hostile input.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on panics, also in the functions that tests share"
)]

mod support;

mod assertion;
mod audit;
mod coverage;
mod decode;
mod encryption;
mod exchange;
mod faces;
mod federation;
mod grpc;
mod held;
mod hostile;
mod http;
mod limits;
mod public;
mod registration;
mod resilience;
mod token;
mod trust;
mod work;
mod workload;
