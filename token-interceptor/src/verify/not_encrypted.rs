//! Encrypted tokens without the feature `encryption`: each is rejected, with a reason that names the feature.

use super::BuildError;
use crate::error::Unverified;

/// The rules for encrypted tokens: there are no keys, so there is no choice.
#[derive(Debug, Default)]
pub(super) struct Encryption {}

impl Encryption {
    pub(super) fn check(&self) -> Result<(), BuildError> {
        Ok(())
    }

    pub(super) fn has_keys(&self) -> bool {
        false
    }

    /// Rejects the five parts of an encrypted token. RFC 7516 section 9.
    pub(super) fn open(&self, token: &str) -> Result<Option<String>, Unverified> {
        match token.bytes().filter(|byte| *byte == b'.').count() {
            4 => Err(Unverified::NotDecryptable("the program is built without the feature encryption")),
            _ => Ok(None),
        }
    }
}
