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
//! | the network | [`danger`], [`trace_context`], [`http_client`] | the same, [`destination`] |
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
//! | one token, renewed in time | | [`refresh`] |
//! | around a channel | | [`attach`] |

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

pub mod http_client;

pub mod destination;

pub mod error;

pub mod token;

pub mod encryption;

pub mod policy;

pub mod bearer;

pub mod revocation;

pub mod key_set;

pub mod verify;

pub mod scheme;

pub mod api_keys;

mod ongoing;

pub mod caller;

pub mod status;

mod mark;

pub mod protected_resource;

pub mod layer;

pub mod interceptor;

// The client side.

pub mod source;

pub mod refresh;

pub mod attach;

#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
