//! Two layers for gRPC. On the server, one verifies tokens and enforces policy. On the client, the other
//! obtains, attaches and renews tokens.
//!
//! Start with [`layer::AuthorizationLayer`] around a server and [`attach::AttachLayer`] around a channel.
//! Both read a method's demand from the policy that its `.proto` declares and `token_proto::build` compiles.
//!
//! A module uses only those above it.
//!
//! | stage | server side | client side |
//! |---|---|---|
//! | time, logs, JSON, names | [`clock`], `throttle`, [`error_chain`], [`urn`], [`json`] | the same |
//! | keys and signatures | [`signature`] | the same |
//! | the network | [`danger`], [`trace_context`], [`http_url`], [`http_client`] | the same, [`destination`] |
//! | errors | [`error`] | [`error`] |
//! | the presented token | [`token`], [`encryption`] | |
//! | the called method's demand | [`policy`] | `token_proto::policy` |
//! | the `authorization` header | [`bearer`] | |
//! | the issuer's revocations and keys | [`revocation`], [`key_set`] | |
//! | every check of a token, in order, and cached tokens | [`verify`] | |
//! | another scheme beside `Bearer`; API keys | [`scheme`], [`api_keys`] | |
//! | calls in progress | `ongoing` | |
//! | the caller, for handlers | [`caller`] | |
//! | the answers to the caller | [`status`] | [`status`] |
//! | the mark of the layer's own refusals | `mark` | `mark` |
//! | the service's own metadata | [`protected_resource`] | |
//! | around a server or a router | [`layer`], [`interceptor`] | |
//! | sources of tokens | | [`source`] |
//! | opaque tokens | [`introspection`] | |
//! | one token, renewed in time | | [`refresh`] |
//! | around a channel | | [`attach`] |
//!
//! # Features
//!
//! | feature | default | it has |
//! |---|---|---|
//! | `server` | yes | the layers that verify tokens and enforce policy |
//! | `client` | yes | the layers that obtain, attach and renew tokens |
//! | `http` | yes | issuers over HTTP: discovery, key sets, token endpoints. Without it: gRPC alone |
//! | `encryption` | yes | encrypted tokens. Without it they are rejected |
//! | `es512` | yes | signatures by ES512, on P-521. Without it they are rejected |
//! | `ring` | yes | TLS by `ring` |
//! | `aws-lc` | no | TLS by `aws-lc-rs`, also where `ring` is on |
//! | `test-util` | no | an issuer in the process, invalid tokens, a clock that a test sets |
//! | `rsa-generation` | no | new RSA keys. Without it they are imported from PEM |
//! | `grpc-crate` | no | the client's tokens for the `grpc` crate, a preview |
//!
//! A server that only verifies needs `default-features = false, features = ["server", "http", "ring"]`. It
//! adds 24 crates to tonic with TLS.
//!
//! The package never installs a provider of TLS for the process: a program may have both, and may install
//! either. An installed provider is used. Without `ring` and `aws-lc`, the program installs one, or
//! gives its `rustls::ClientConfig` to `tls_config`. Signatures are always `ring`'s, except that `es512`
//! brings the crate `p521`.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(
    not(all(feature = "server", feature = "client", feature = "http", feature = "encryption")),
    allow(dead_code, reason = "shared parts that only an absent feature uses")
)]

#[doc = include_str!("../recipes.md")]
pub mod recipes {}

#[doc = include_str!("../profiles.md")]
pub mod profiles {}

pub mod clock;

mod throttle;

pub mod error_chain;

pub mod urn;

pub mod json;

pub mod signature;

pub mod danger;

pub mod trace_context;

pub mod http_url;

pub mod http_client;

pub mod destination;

pub mod error;

pub mod token;

#[cfg(feature = "encryption")]
pub mod encryption;

#[cfg(feature = "server")]
pub mod policy;

pub mod bearer;

#[cfg(feature = "server")]
pub mod revocation;

#[cfg(feature = "server")]
pub mod key_set;

#[cfg(feature = "server")]
pub mod verify;

#[cfg(feature = "server")]
pub mod scheme;

#[cfg(feature = "server")]
pub mod api_keys;

#[cfg(feature = "server")]
mod ongoing;

#[cfg(feature = "server")]
pub mod caller;

pub mod status;

mod mark;

#[cfg(feature = "server")]
pub mod protected_resource;

#[cfg(feature = "server")]
pub mod layer;

#[cfg(feature = "server")]
pub mod interceptor;

// The client side.

#[cfg(feature = "client")]
pub mod source;

#[cfg(all(feature = "server", feature = "client", feature = "http"))]
pub mod introspection;

#[cfg(feature = "client")]
pub mod refresh;

#[cfg(feature = "client")]
pub mod attach;

#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
