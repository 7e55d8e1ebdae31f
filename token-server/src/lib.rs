//! The issuer.

pub mod config;
