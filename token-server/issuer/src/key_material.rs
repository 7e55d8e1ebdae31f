//! 256-bit symmetric keys that the operator provides: the sealing keys and the pepper.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use zeroize::Zeroizing;

/// The length of a key in bytes.
const KEY_BYTES: usize = 32;
/// The input of the keyed hash that yields a key's ID.
const ID_LABEL: &[u8] = b"token-server key id";

/// A 256-bit key. Its ID is derived from its bytes, so the operator configures only the key itself. An old
/// and a new key can be used side by side during a rotation.
#[derive(Clone)]
pub struct KeyMaterial {
    id: String,
    bytes: Zeroizing<[u8; KEY_BYTES]>,
}

/// The text is not a 256-bit key. The error does not contain the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a 256-bit key: expected 64 hexadecimal digits, or base64 of 32 bytes")]
pub struct KeyMaterialError;

impl KeyMaterial {
    /// Creates a key from 32 random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes), ID_LABEL);
        let id = hex(tag.as_ref().get(..8).unwrap_or_default());
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// Generates a new key.
    ///
    /// # Errors
    ///
    /// When the system's random number generator fails.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let mut bytes = [0; KEY_BYTES];
        SystemRandom::new().fill(&mut bytes)?;
        Ok(Self::from_bytes(bytes))
    }

    /// Parses the text form: 64 hexadecimal digits, or base64 of 32 bytes (either alphabet, padded or not).
    /// Surrounding white space is ignored.
    ///
    /// # Errors
    ///
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, KeyMaterialError> {
        let text = text.trim();
        let bytes = if text.len() == KEY_BYTES * 2 { unhex(text) } else { unbase64(text) };
        let bytes = bytes.ok_or(KeyMaterialError)?;
        Ok(Self::from_bytes(<[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| KeyMaterialError)?))
    }

    /// Returns the text form that [`KeyMaterial::parse`] reads, for writing a new key to a file.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(URL_SAFE_NO_PAD.encode(self.bytes.as_slice()))
    }

    /// The ID of the key. It reveals nothing about the key.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes of the key.
    #[must_use]
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.bytes
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    rest.is_empty().then_some(bytes)
}

fn unbase64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = Zeroizing::new(text.trim_end_matches('=').replace('+', "-").replace('/', "_"));
    URL_SAFE_NO_PAD.decode(text.as_bytes()).ok().map(Zeroizing::new)
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 32] = [0xfb; 32];

    #[test]
    fn reads_hexadecimal_and_both_base64_alphabets() {
        let key = KeyMaterial::from_bytes(BYTES);
        for text in [
            "fb".repeat(32),
            "FB".repeat(32),
            format!(" {}\n", key.to_text().as_str()),
            base64::engine::general_purpose::STANDARD.encode(BYTES),
        ] {
            assert_eq!(KeyMaterial::parse(&text).unwrap().bytes(), &BYTES, "{text}");
        }
    }

    #[test]
    fn rejects_text_of_another_length_or_alphabet() {
        for text in ["", "fb", &"fb".repeat(31), &"zz".repeat(32), &"é".repeat(32)] {
            assert_eq!(KeyMaterial::parse(text).unwrap_err(), KeyMaterialError, "{text}");
        }
    }

    #[test]
    fn the_id_depends_on_the_key_alone() {
        assert_eq!(KeyMaterial::from_bytes(BYTES).id(), KeyMaterial::from_bytes(BYTES).id());
        assert_ne!(KeyMaterial::from_bytes(BYTES).id(), KeyMaterial::from_bytes([1; 32]).id());
    }

    #[test]
    fn debug_shows_the_id_and_not_the_key() {
        let key = KeyMaterial::from_bytes(BYTES);
        let shown = format!("{key:?}");
        assert!(shown.contains(key.id()));
        assert!(!shown.contains("251") && !shown.contains(key.to_text().as_str()), "{shown}");
    }
}
