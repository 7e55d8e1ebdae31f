//! Nested tokens: signed by the issuer, then encrypted to their audience's key. RFC 7516, RFC 7519 section
//! 5.2.
//!
//! Only the audience can read the claims of such a token; those that carry or log it cannot. There is one
//! algorithm and no choice (RFC 8725 section 3.1): ECDH-ES on P-256 (RFC 7518 section 4.6) with A256GCM.
//! Tokens are never compressed (section 3.6 of RFC 8725) and are encrypted only once. Encryption does not
//! authenticate the writer: the decrypted token is verified like every other token.

mod agreement;
mod key;
mod open;

pub use key::{DecryptionKey, EncryptionKey, EncryptionKeyError};
#[cfg(feature = "server")]
pub(crate) use open::open;

/// `alg`: RFC 7518 section 4.6, direct key agreement.
const ALGORITHM: &str = "ECDH-ES";
/// `enc`: RFC 7518 section 5.3.
const CONTENT_ENCRYPTION: &str = "A256GCM";
/// RFC 7518 section 5.3: 96 bits.
const NONCE_BYTES: usize = 12;
/// RFC 7518 section 5.3: 128 bits.
const TAG_BYTES: usize = 16;

/// Returns true if `token` has the five parts of an encrypted token. RFC 7516 section 9.
#[must_use]
pub fn is_encrypted(token: &str) -> bool {
    token.bytes().filter(|byte| *byte == b'.').count() == 4
}
