//! Encryption of stored private keys: AES-256-GCM (RFC 5116 section 5.2) under a key that is not in the
//! store.

use std::fmt;

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand::{SecureRandom as _, SystemRandom},
};
use token_interceptor::signature::Algorithm;
use zeroize::Zeroizing;

use super::SigningKeyError;
use crate::{key_material::KeyMaterial, store::SealedKey};

/// The current sealing key, and previous ones that still seal some private keys.
#[derive(Clone)]
pub struct SealingKeys {
    current: KeyMaterial,
    previous: Vec<KeyMaterial>,
}

impl SealingKeys {
    /// Creates the set: `current` seals and opens, `previous` only open.
    #[must_use]
    pub fn new(current: KeyMaterial, previous: Vec<KeyMaterial>) -> Self {
        Self { current, previous }
    }

    /// The ID of the key that seals.
    #[must_use]
    pub fn current_id(&self) -> &str {
        self.current.id()
    }

    /// Returns true if it can open keys sealed under this sealing key.
    #[must_use]
    pub fn has(&self, sealing_key_id: &str) -> bool {
        std::iter::once(&self.current).chain(&self.previous).any(|key| key.id() == sealing_key_id)
    }

    /// Seals a private key, bound to its key ID and algorithm. An attacker who can write to the store can
    /// therefore neither swap keys nor change a key's algorithm.
    ///
    /// # Errors
    ///
    /// When the system's random number generator fails.
    pub fn seal(&self, key_id: &str, algorithm: Algorithm, private: &[u8]) -> Result<SealedKey, SigningKeyError> {
        // Random 96-bit nonces are safe for 2^32 seals under one sealing key (NIST SP 800-38D, 8.3).
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SigningKeyError::NoRandomness)?;
        let mut sealed = private.to_vec();
        aead(&self.current)
            .and_then(|key| {
                let aad = Aad::from(associated_data(key_id, algorithm));
                key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            })
            .map_err(|_| SigningKeyError::NoRandomness)?;
        let bytes = [nonce.as_slice(), &sealed].concat();
        Ok(SealedKey { sealing_key_id: self.current.id().to_owned(), bytes })
    }

    /// Opens a sealed private key.
    ///
    /// # Errors
    ///
    /// When its sealing key was not provided, or when it was not sealed for this key ID and algorithm.
    pub fn open(
        &self,
        key_id: &str,
        algorithm: Algorithm,
        sealed: &SealedKey,
    ) -> Result<Zeroizing<Vec<u8>>, SigningKeyError> {
        let key = std::iter::once(&self.current)
            .chain(&self.previous)
            .find(|key| key.id() == sealed.sealing_key_id)
            .ok_or_else(|| SigningKeyError::SealingKeyUnknown {
                key_id: key_id.to_owned(),
                sealing_key_id: sealed.sealing_key_id.clone(),
            })?;
        let broken = || SigningKeyError::SealBroken { key_id: key_id.to_owned() };
        let (nonce, ciphertext) = sealed.bytes.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
        let mut opened = Zeroizing::new(ciphertext.to_vec());
        let length = aead(key)
            .and_then(|key| {
                let aad = Aad::from(associated_data(key_id, algorithm));
                Ok(key.open_in_place(Nonce::assume_unique_for_key(*nonce), aad, &mut opened)?.len())
            })
            .map_err(|_| broken())?;
        opened.truncate(length);
        Ok(opened)
    }
}

fn aead(key: &KeyMaterial) -> Result<LessSafeKey, ring::error::Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.bytes())?))
}

/// Neither part contains a zero byte, so two different pairs never encode alike.
fn associated_data(key_id: &str, algorithm: Algorithm) -> Vec<u8> {
    ["token-server signing key", algorithm.name(), key_id].join("\0").into_bytes()
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let previous: Vec<_> = self.previous.iter().map(KeyMaterial::id).collect();
        f.debug_struct("SealingKeys").field("current", &self.current.id()).field("previous", &previous).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn material(byte: u8) -> KeyMaterial {
        KeyMaterial::from_bytes([byte; 32])
    }

    #[test]
    fn has_the_current_key_and_the_previous_ones_and_no_other() {
        let keys = SealingKeys::new(material(1), vec![material(2)]);
        let has = [1, 2, 3].map(|byte| keys.has(material(byte).id()));
        assert_eq!(has, [true, true, false]);
    }

    #[test]
    fn what_was_sealed_opens() {
        let keys = SealingKeys::new(material(1), vec![]);
        let sealed = keys.seal("kid", Algorithm::Es256, b"private").unwrap();
        assert_eq!(keys.open("kid", Algorithm::Es256, &sealed).unwrap().as_slice(), b"private");
    }

    #[test]
    fn opens_under_an_older_key_while_it_is_provided() {
        let sealed = SealingKeys::new(material(1), vec![]).seal("kid", Algorithm::Es256, b"private").unwrap();
        assert!(SealingKeys::new(material(2), vec![material(1)]).open("kid", Algorithm::Es256, &sealed).is_ok());
        let error = SealingKeys::new(material(2), vec![]).open("kid", Algorithm::Es256, &sealed).unwrap_err();
        assert!(matches!(error, SigningKeyError::SealingKeyUnknown { .. }), "{error}");
    }

    #[test]
    fn does_not_open_as_another_key_or_algorithm() {
        let keys = SealingKeys::new(material(1), vec![]);
        let sealed = keys.seal("kid", Algorithm::Rs256, b"private").unwrap();
        assert!(matches!(keys.open("dik", Algorithm::Rs256, &sealed), Err(SigningKeyError::SealBroken { .. })));
        assert!(matches!(keys.open("kid", Algorithm::Ps256, &sealed), Err(SigningKeyError::SealBroken { .. })));
    }

    #[test]
    fn does_not_open_when_any_byte_is_changed_or_missing() {
        let keys = SealingKeys::new(material(1), vec![]);
        let sealed = keys.seal("kid", Algorithm::Es256, b"private").unwrap();
        for place in 0..sealed.bytes.len() {
            let mut changed = sealed.clone();
            changed.bytes[place] ^= 1;
            assert!(keys.open("kid", Algorithm::Es256, &changed).is_err(), "{place}");
            changed.bytes.truncate(place);
            assert!(keys.open("kid", Algorithm::Es256, &changed).is_err(), "{place}");
        }
    }

    #[test]
    fn sealing_twice_gives_different_bytes_without_the_key_in_them() {
        let keys = SealingKeys::new(material(1), vec![]);
        let seal = || keys.seal("kid", Algorithm::Es256, b"private").unwrap().bytes;
        assert_ne!(seal(), seal());
        assert!(!seal().windows(7).any(|window| window == b"private"));
    }

    #[test]
    fn debug_shows_ids_only() {
        let keys = SealingKeys::new(material(1), vec![material(2)]);
        let shown = format!("{keys:?} {:?}", keys.seal("kid", Algorithm::Es256, b"private").unwrap());
        assert!(shown.contains(material(1).id()) && shown.contains(material(2).id()));
        assert!(!shown.contains("bytes") && !shown.contains("1, 1"), "{shown}");
    }
}
