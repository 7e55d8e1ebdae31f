//! The two layers: on the server tokens are verified and policy is enforced, on the client tokens are
//! obtained, attached and renewed.
//!
//! The way in: [`layer::AuthorizationLayer`] around a server, [`attach::TokenLayer`] around a channel. Both read what a
//! method demands from the policy that its `.proto` declares and `token_proto::build` compiles.
//!
//! A request passes these modules from the top to the bottom, and a module uses only those above it.
//!
//! | stage | server side | client side |
//! |---|---|---|
//! | what the called method demands | [`policy`] | `token_proto::policy` |
//! | the token that was presented | [`bearer`], [`token`], [`encryption`] | |
//! | the issuer's revocations and keys | [`revocation`], [`key_set`] | |
//! | every check of a token, in order | [`verify`] | |
//! | tokens that were seen before | `cache` | |
//! | calls that go on | `ongoing` | |
//! | who calls, for handlers | [`caller`] | |
//! | what a caller is told | [`error`], [`status`] | [`error`], [`status`] |
//! | a refusal that is the layer's own | `mark` | `mark` |
//! | what a service says about itself | [`protected_resource`] | |
//! | around a server or a router | [`layer`], [`interceptor`] | |
//! | where credentials may be sent | | [`destination`] |
//! | where tokens come from | | [`source`] |
//! | one token, kept fresh | | [`refresh`] |
//! | around a channel | | [`attach`] |

pub mod clock;

mod throttle;

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

mod cache;

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
