//! Signing keys: one algorithm each, rotating by themselves, sealed at rest. RFC 7517, RFC 7518.

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
pub use rotation::{KeyRotation, KeySettings};
pub use seal::SealingKeys;
pub use signer::Signer;

use crate::store::StoreError;

/// Why a key cannot be had or used. Says nothing about private material.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key itself: malformed, not to be generated here, refused by the library.
    #[error(transparent)]
    Signature(#[from] signature::KeyError),
    /// The key was sealed under a key that was not provided.
    #[error(
        "key {key_id} is sealed under {sealing_key_id}, which was not provided: a former sealing key belongs into \
         [keys] previous_sealing_key_files"
    )]
    SealingKeyUnknown {
        /// The `kid`.
        key_id: String,
        /// Which sealing key is needed.
        sealing_key_id: String,
    },
    /// What is stored is not what was sealed.
    #[error("key {key_id} does not open: the store was damaged or tampered with")]
    SealBroken {
        /// The `kid`.
        key_id: String,
    },
    /// There is no such key.
    #[error("no such key")]
    NotFound,
    /// No key signs with that algorithm here.
    #[error("no key for that algorithm is configured")]
    AlgorithmNotConfigured,
    /// The default algorithm would be without a key: nothing could be signed.
    #[error("no key is left to sign with by default; RSA keys are not generated here: import another first")]
    LastKey,
    /// One key, one algorithm.
    #[error("key {key_id} is imported for two algorithms; one key signs with one algorithm")]
    Reused {
        /// The `kid`.
        key_id: String,
    },
    /// Not a private key in PEM.
    #[error("not a private key in PEM: PKCS#8, or PKCS#1 for RSA")]
    NotPem,
    /// The system has no randomness.
    #[error("the system has no randomness")]
    NoRandomness,
    /// The store.
    #[error("signing keys cannot be stored")]
    Store(#[from] StoreError),
}
