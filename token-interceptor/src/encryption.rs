//! Nested tokens: signed by the issuer, then encrypted to the key of their audience. RFC 7516, RFC 7519 section 5.2.
//!
//! So that what stands in a token is read by its audience alone, and not by whoever carries or logs it. One way and
//! no choice (RFC 8725 section 3.1): ECDH-ES on P-256 (RFC 7518 section 4.6) with A256GCM, never compressed
//! (section 3.6 of RFC 8725), once and not within one another. Encryption says nothing about who wrote a token: what
//! comes out is verified as every other token is.

mod agreement;
mod key;
mod open;

pub use key::{DecryptionKey, EncryptionKey, EncryptionKeyError};
pub(crate) use open::open;

/// `alg`: RFC 7518 section 4.6, direct key agreement.
const ALGORITHM: &str = "ECDH-ES";
/// `enc`: RFC 7518 section 5.3.
const CONTENT_ENCRYPTION: &str = "A256GCM";
/// RFC 7518 section 5.3: 96 bits.
const NONCE_BYTES: usize = 12;
/// RFC 7518 section 5.3: 128 bits.
const TAG_BYTES: usize = 16;

/// Whether `token` has the five parts of an encrypted one. RFC 7516 section 9.
#[must_use]
pub fn is_encrypted(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 4
}
