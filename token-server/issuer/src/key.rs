//! Signing keys: each signs with one algorithm, rotates automatically and is stored sealed. RFC 7517, RFC
//! 7518.

mod imported;
mod published;
mod ring;
pub mod rotate;
mod rotation;
mod seal;
mod signer;

use token_interceptor::signature;

pub use self::ring::KeyRing;
pub use imported::ImportedKey;
pub use published::{KeyState, PublishedKey, PublishedKeys};
pub use rotate::Schedule;
pub use rotation::{KeyRotation, KeySettings, TokenLifetimes};
pub use seal::SealingKeys;
pub use signer::Signer;

use crate::store::StoreError;

/// The reason why a key cannot be obtained or used. Contains no private material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SigningKeyError {
    /// The key is malformed, cannot be generated here, or was rejected by the library.
    #[error(transparent)]
    Signature(#[from] signature::KeyError),
    /// The key was sealed under a sealing key that was not provided.
    #[error(
        "key {key_id} is sealed under {sealing_key_id}, which was not provided: add the former sealing key to \
         [keys] previous_sealing_key_files"
    )]
    SealingKeyUnknown {
        /// The `kid`.
        key_id: String,
        /// The ID of the required sealing key.
        sealing_key_id: String,
    },
    /// The stored key was changed after it was sealed.
    #[error("key {key_id} cannot be unsealed: the store was damaged or tampered with")]
    SealBroken {
        /// The `kid`.
        key_id: String,
    },
    /// The key does not exist.
    #[error("no such key")]
    NotFound,
    /// No key is configured for that algorithm.
    #[error("no key for that algorithm is configured")]
    AlgorithmNotConfigured,
    /// The default algorithm would have no key left, so the server could not sign.
    #[error("the default algorithm has no key to sign with; RSA keys are not generated: import one first")]
    LastKey,
    /// One key was imported for two algorithms.
    #[error("key {key_id} is imported for two algorithms; one key signs with one algorithm")]
    Reused {
        /// The `kid`.
        key_id: String,
    },
    /// The text is not a private key in PEM.
    #[error("not a private key in PEM: PKCS#8, or PKCS#1 for RSA")]
    NotPem,
    /// The system's random number generator failed.
    #[error("the system has no randomness")]
    NoRandomness,
    /// The store failed.
    #[error("signing keys cannot be stored")]
    Store(#[from] StoreError),
}
