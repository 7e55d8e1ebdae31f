//! The hash of a key, compared in constant time.

use std::{fmt, hash::Hash};

use ring::digest::{self, SHA256_OUTPUT_LEN};
use subtle::ConstantTimeEq as _;

use super::ApiKeyError;

/// The SHA-256 hash of an API key.
///
/// On a command line it is the first word of `printf %s "$KEY" | sha256sum`, or the output of
/// `token-server hash-key`.
///
/// ```
/// use token_interceptor::api_keys::KeyHash;
///
/// let hash = KeyHash::of("foo");
/// assert_eq!(hash.to_string(), "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae");
/// ```
#[derive(Clone, Copy, Eq)]
pub struct KeyHash([u8; SHA256_OUTPUT_LEN]);

impl KeyHash {
    /// Returns the hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(digest::digest(&digest::SHA256, key.as_bytes()).as_ref().try_into().unwrap_or_default())
    }

    /// Reads a hash of 64 hexadecimal digits.
    ///
    /// # Errors
    ///
    /// Returns an error for any other text.
    pub fn from_hex(text: &str) -> Result<Self, ApiKeyError> {
        let fault = || ApiKeyError::new("sha256 is not a hash of 64 hexadecimal digits");
        let mut hash = [0; SHA256_OUTPUT_LEN];
        if text.len() != 2 * hash.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(fault());
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| fault())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| fault())?;
        }
        Ok(Self(hash))
    }
}

/// In constant time. The map of the keys finds the few candidates by a hash with a secret seed.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        super::tests::COMPARISONS.with(|count| count.set(count.get() + 1));
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for KeyHash {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of a short key gives it away, so it is not printed.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash([REDACTED])")
    }
}
