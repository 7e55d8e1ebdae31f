//! The issuer: an OAuth 2.0 authorization server for machines.
//!
//! A module uses the modules above it, never those below; so this list is also the order in which to read.
//!
//! | a token request, in order | module |
//! |---|---|
//! | where it comes from, and why it may be refused | [`origin`], [`error`] |
//! | who asks, and what it may ask for: the types | [`client`] |
//! | where clients, sealed keys, revocations and the audit of changes are kept | [`store`] |
//! | changes, as they happen: to the caches and to the trust stream | [`feed`] |
//! | the client, from memory | [`client_registry`] |
//! | the client proves who it is | [`client_authentication`] |
//! | the signature; keys that rotate by themselves | [`key`] |
//! | tokens that are good no more | [`revocation`] |
//! | tokens of ours that come back | [`own_tokens`] |
//! | tokens of others that may be exchanged for ours | [`security_token`], [`federation`] |
//! | what the client gets, decided | [`grant`] |
//! | the token, from claims to signature | [`mint`] |
//! | how often it may ask | [`limit`] |
//! | the decision, on record | [`audit`] |
//! | wire to domain | `convert` |
//! | the whole line, stage after stage | [`issuer`] |
//! | what operators do to clients and keys | [`admin`] |
//! | Envoy's protocol, as far as it is spoken here | [`envoy`] |
//! | clients that register themselves | [`registration`] |
//! | the two faces | [`service`], [`http`] |
//! | what is offered, for everybody to read | [`metadata`] |
//! | clients as a file declares them | [`declared`] |
//! | every setting, with the place of every mistake | [`config`] |
//! | log lines, the audit stream, metrics, traces | [`telemetry`] |
//! | everything put together, on one port | [`server`] |
//! | an issuer from nothing, for development and tests | [`development`] |
//! | the command line | [`command`] |

mod error_chain;
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
