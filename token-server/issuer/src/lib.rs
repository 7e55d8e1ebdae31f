//! The decisions of an OAuth 2.0 issuer for machines. It has no protocol, no socket and no SQL; other
//! packages have those.
//!
//! The list is in dependency order: a module uses only the modules above it. Read the modules in this order.
//!
//! | steps of a token request | module |
//! |---|---|
//! | the origin of the request, the reasons for errors, the costly steps | [`origin`], [`error`], [`cost`] |
//! | clients and their rights: the types | [`client`] |
//! | the traits of the store of clients, sealed keys, revocations and audit records | [`store`] |
//! | the change feed for the caches and the trust stream | [`feed`] |
//! | the cache of clients | [`client_registry`] |
//! | other issuers' tokens, to exchange or as assertions | [`security_token`], [`identity_provider`] |
//! | client authentication | [`client_authentication`] |
//! | signing keys and their rotation | [`key`] |
//! | revoked tokens | [`revocation`] |
//! | verification of our own tokens | [`own_tokens`] |
//! | the decision on the client's access | [`grant`] |
//! | the token, from claims to signature | [`mint`] |
//! | rate limits | [`limit`] |
//! | the audit log of decisions | [`audit`] |
//! | requests, decoded from either protocol | [`request`] |
//! | the public issuer metadata | [`metadata`] |
//! | the whole token request, stage by stage | [`issuer`] |
//! | operations on clients and keys for operators | [`admin`] |
//! | dynamic client registration | [`registration`] |

pub mod trace;
pub mod timestamp;
pub mod key_material;
pub mod json_text;
pub mod reserved_claims;
pub mod error;
pub mod cost;
pub mod origin;
pub mod client;
pub mod store;
#[cfg(any(test, feature = "test-util"))]
pub mod test_util;
pub mod feed;
pub mod client_registry;
pub mod security_token;
pub mod identity_provider;
pub mod client_authentication;
pub mod key;
pub mod revocation;
pub mod own_tokens;
pub mod grant;
pub mod mint;
pub mod limit;
pub mod audit;
pub mod request;
pub mod metadata;
pub mod issuer;
pub mod admin;
pub mod registration;
