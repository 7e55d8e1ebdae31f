//! The client layer, on the real stack over a simulated network. Time is virtual, so an outage of an hour
//! takes a moment, and no test sleeps.

#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "one test program: nothing is reached from outside, and what is unexpected fails the test"
)]

mod callee;
mod issuer;
mod network;
#[path = "../support/simulated.rs"]
mod simulated;

mod cancellation;
mod clocks;
mod chain;
mod healing;
mod outages;
mod privilege;
mod replays;
mod secrecy;

/// The example application's contract.
#[allow(missing_docs, clippy::all, clippy::pedantic, clippy::restriction, reason = "generated code")]
pub mod inventory {
    tonic::include_proto!("inventory.v1");
    /// The policy of its methods.
    pub static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::include_policy!();
    /// Its descriptors.
    pub static DESCRIPTOR_SET: &[u8] = token_proto::include_descriptor_set!();
}
