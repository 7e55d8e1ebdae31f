//! The issue path through both faces, in one process and without a socket: what each specification demands,
//! and what hostile input must not achieve.

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
