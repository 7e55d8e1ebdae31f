//! Manual operations on signing keys, for operators who cannot wait for the scheduled rotation.

use token_interceptor::signature::Algorithm;

use super::{AdminError, Operator};
use crate::key::{KeyRotation, PublishedKey};

/// Access to the signing keys for operators. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyAdmin {
    rotation: KeyRotation,
}

impl KeyAdmin {
    /// Creates a `KeyAdmin` over the keys of `rotation`.
    #[must_use]
    pub fn new(rotation: KeyRotation) -> Self {
        Self { rotation }
    }

    /// Returns every key in the ring, distrusted keys included.
    #[must_use]
    pub fn list(&self) -> Vec<PublishedKey> {
        self.rotation.ring().published().keys.clone()
    }

    /// Publishes the next key of an algorithm now. `algorithm` is a JOSE name; empty selects the default. The
    /// key starts to sign once every verifier has had time to fetch it.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for an unknown algorithm. [`AdminError::Precondition`] for an algorithm that
    /// has no key here, or whose keys are imported. Also returns the store's errors.
    pub async fn rotate(&self, by: &Operator, algorithm: &str) -> Result<PublishedKey, AdminError> {
        let unknown = || AdminError::invalid("algorithm", "it must be ES256, EdDSA, ES384, RS256 or PS256");
        let named = match algorithm {
            "" => None,
            name => {
                Some(Algorithm::from_name(name).filter(|named| Algorithm::ISSUED.contains(named)).ok_or_else(unknown)?)
            }
        };
        let record = by.record(self.rotation.clock().now(), "RotateSigningKey", algorithm, String::new());
        Ok(self.rotation.rotate(named, Some(&record)).await?)
    }

    /// Distrusts a compromised key: from now on, every verifier rejects the tokens that it signed.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`] for an unknown key. [`AdminError::Precondition`] when no key would be left to
    /// sign with. Also returns the store's errors.
    pub async fn distrust(&self, by: &Operator, key_id: &str) -> Result<(), AdminError> {
        let record = by.record(self.rotation.clock().now(), "DistrustSigningKey", key_id, String::new());
        Ok(self.rotation.distrust(key_id, Some(&record)).await?)
    }
}
