//! Encrypted tokens, as a verifier takes them: decrypted, demanded, or rejected.

use super::BuildError;
use crate::{
    encryption::{DecryptionKey, is_encrypted, open},
    error::Unverified,
};

/// The rules for encrypted tokens, and the keys that decrypt them.
#[derive(Debug, Default)]
pub(super) struct Encryption {
    keys: Vec<DecryptionKey>,
    required: bool,
}

impl Encryption {
    pub(super) fn add(&mut self, key: DecryptionKey) {
        self.keys.push(key);
    }

    pub(super) fn require(&mut self) {
        self.required = true;
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        if self.required && self.keys.is_empty() {
            return Err(BuildError::new("", "tokens must be encrypted, and there is no key to open them with"));
        }
        let mut ids: Vec<&str> = self.keys.iter().map(DecryptionKey::key_id).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(BuildError::new("", "two decryption keys have one ID"));
        }
        Ok(())
    }

    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns the signed token inside an encrypted one; `None` for one that is not encrypted and need not
    /// be.
    pub(super) fn open(&self, token: &str) -> Result<Option<String>, Unverified> {
        if is_encrypted(token) {
            return open(token, &self.keys).map(Some);
        }
        if self.required { Err(Unverified::NotEncrypted) } else { Ok(None) }
    }
}
