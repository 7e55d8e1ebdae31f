//! The issuer: an OAuth 2.0 authorization server for machines, over gRPC and HTTP on one port.
//!
//! This package is the server. [`token_issuer`] makes the decisions, and [`token_store`] has the stores. The
//! program is the package `token-cli`.
//!
//! The list is in dependency order: a module uses only the modules above it. Read the modules in this order.
//!
//! | part | module |
//! |---|---|
//! | the connection that a request arrived on | [`connection`] |
//! | conversion from the wire to the issuer's types | `convert` |
//! | the supported part of Envoy's protocol | [`envoy`] |
//! | clients declared in a file | [`client_file`] |
//! | all settings, with the location of every mistake | [`config`] |
//! | gRPC, and OAuth over HTTP | [`grpc`], [`http`] |
//! | every method of gRPC as JSON over HTTP | `connect` |
//! | log lines, the audit stream, metrics, traces | [`telemetry`] |
//! | the server: all parts on one port | [`server`] |
//! | an issuer without configuration, for development and tests | [`development`] |

mod form;
pub mod connection;
mod convert;
pub mod envoy;
pub mod client_file;
pub mod config;
pub mod grpc;
pub mod http;
mod connect;
pub mod telemetry;
pub mod server;
pub mod development;
