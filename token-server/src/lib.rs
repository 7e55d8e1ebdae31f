//! The issuer: an OAuth 2.0 authorization server for machines.
//!
//! A module uses the modules above it, never those below; so this list is also the order in which to read.
//!
//! | a token request, in order | module |
//! |---|---|
//! | who asks, and what it may ask for: the types | [`client`] |
//! | where clients, sealed keys, revocations and the audit of changes are kept | [`store`] |
//! | changes, as they happen: to the caches and to the trust stream | [`feed`] |
//! | the client, from memory | [`client::registry`] |
//! | the signature; keys that rotate by themselves | [`key`] |
//! | every setting, with the place of every mistake | [`config`] |

pub mod timestamp;
pub mod key_material;
pub mod client;
pub mod store;
pub mod feed;
pub mod key;
pub mod config;
