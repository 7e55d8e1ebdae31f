//! Signing keys, for operators who cannot wait for the rotation.

use token_interceptor::signature::Algorithm;

use super::{AdminError, Operator};
use crate::key::{KeyRotation, PublishedKey};

/// Signing keys, as operators see them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KeyAdmin {
    rotation: KeyRotation,
}

impl KeyAdmin {
    /// Over the keys of `rotation`.
    #[must_use]
    pub fn new(rotation: KeyRotation) -> Self {
        Self { rotation }
    }

    /// Every key in the ring.
    #[must_use]
    pub fn list(&self) -> Vec<PublishedKey> {
        self.rotation.ring().published().keys.clone()
    }

    /// Publishes the next key of an algorithm (its JOSE name; empty: the default one) now. It signs once every
    /// verifier has had time to see it.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for an unknown algorithm, [`AdminError::Precondition`] for one that has no key
    /// here or whose keys are imported; the store's.
    pub async fn rotate(&self, by: &Operator, algorithm: &str) -> Result<PublishedKey, AdminError> {
        let unknown = || AdminError::invalid("algorithm", "it is none of ES256, EdDSA, ES384, RS256, PS256");
        let named =
            if algorithm.is_empty() { None } else { Some(Algorithm::from_name(algorithm).ok_or_else(unknown)?) };
        let record = by.record(self.rotation.clock().now(), "RotateSigningKey", algorithm, String::new());
        Ok(self.rotation.rotate(named, Some(&record)).await?)
    }

    /// Refuses a compromised key everywhere from now on, and the tokens that it has signed with it.
    ///
    /// # Errors
    ///
    /// [`AdminError::NotFound`]; [`AdminError::Precondition`] when nothing could be signed any more; the
    /// store's.
    pub async fn distrust(&self, by: &Operator, key_id: &str) -> Result<(), AdminError> {
        let record = by.record(self.rotation.clock().now(), "DistrustSigningKey", key_id, String::new());
        Ok(self.rotation.distrust(key_id, Some(&record)).await?)
    }
}
