//! The code that the build script generated from `inventory.proto`, as the README shows it.

#![allow(
    missing_docs,
    dead_code,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated code"
)]

// README: pb
tonic::include_proto!("inventory.v1");
pub static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::include_policy!();
pub static DESCRIPTOR_SET: &[u8] = token_proto::include_descriptor_set!();
// README: end
