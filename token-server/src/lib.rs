//! The issuer: an OAuth 2.0 authorization server for machines.
//!
//! The list is in dependency order: a module uses only the modules above it. Read the modules in this order.
//!
//! | steps of a token request | module |
//! |---|---|
//! | the origin of the request, and the reasons for errors | [`origin`], [`error`] |
//! | clients and their rights: the types | [`client`] |
//! | storage of clients, sealed keys, revocations and audit records | [`store`] |
//! | the change feed for the caches and the trust stream | [`feed`] |
//! | the cache of clients | [`client_registry`] |
//! | client authentication | [`client_authentication`] |
//! | signing keys and their rotation | [`key`] |
//! | revoked tokens | [`revocation`] |
//! | verification of our own tokens | [`own_tokens`] |
//! | other issuers' tokens that may be exchanged for ours | [`security_token`], [`federation`] |
//! | the decision which access the client receives | [`grant`] |
//! | the token, from claims to signature | [`mint`] |
//! | rate limits | [`limit`] |
//! | the audit log of decisions | [`audit`] |
//! | conversion from the wire to the domain types | `convert` |
//! | the whole token request, stage by stage | [`issuer`] |
//! | operations on clients and keys for operators | [`admin`] |
//! | the supported part of Envoy's protocol | [`envoy`] |
//! | dynamic client registration | [`registration`] |
//! | the two protocols, gRPC and HTTP | [`service`], [`http`] |
//! | the public issuer metadata | [`metadata`] |
//! | clients declared in a file | [`declared`] |
//! | all settings, with the location of every mistake | [`config`] |
//! | log lines, the audit stream, metrics, traces | [`telemetry`] |
//! | the server: all parts on one port | [`server`] |
//! | an issuer without configuration, for development and tests | [`development`] |
//! | the command line | [`command`] |

// Every log line of a failure uses it: `crate::error_chain::of`.
use token_interceptor::error_chain;
mod private_file;
mod trace;
pub mod timestamp;
pub mod key_material;
mod form;
mod json_text;
mod reserved_claims;
pub mod error;
pub mod origin;
pub mod client;
pub mod store;
pub mod feed;
pub mod client_registry;
pub mod client_authentication;
pub mod key;
pub mod revocation;
pub mod own_tokens;
pub mod security_token;
pub mod federation;
pub mod grant;
pub mod mint;
pub mod limit;
pub mod audit;
mod convert;
pub mod metadata;
pub mod issuer;
pub mod admin;
pub mod envoy;
pub mod registration;
pub mod service;
pub mod http;
pub mod declared;
pub mod config;
pub mod telemetry;
pub mod server;
pub mod development;
pub mod command;
