//! Signatures over `ring`, with `jsonwebtoken`'s JWK types, and behind its signer trait. ES512 is over
//! `p521`, as `ring` has no P-521.
//!
//! A key is parsed once, together with the only algorithm it is used with. So a token's header cannot choose
//! the algorithm (RFC 8725 section 3.1). There is no HMAC and no `none`.

mod es512;
mod jwk;
mod verifying;
mod public_jwk;
mod signing;

use std::fmt;

use jsonwebtoken::jwk::KeyAlgorithm;

pub use jwk::{has_private_member, thumbprint};
pub use public_jwk::PublicJwk;
pub use signing::SigningKey;
pub use verifying::VerifyingKey;

/// The algorithms of token signatures, by JOSE name: RFC 7518 section 3.1 and RFC 8037 section 3.1.
///
/// Exhaustive: a match that forgets an algorithm must not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256. The default, as verifiers in every language support it.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512. Other issuers sign with it. Verified with the feature `es512`, and never
    /// made here.
    Es512,
    /// Ed25519.
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256. RFC 9068 section 2.1 requires its support.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384. Other issuers sign with it.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512. Other issuers sign with it.
    Rs512,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PSS with SHA-384. Other issuers sign with it.
    Ps384,
    /// RSASSA-PSS with SHA-512. Other issuers sign with it.
    Ps512,
}

impl Algorithm {
    /// Every algorithm that signatures are verified with, the preferred one first. Without the feature
    /// `es512` ES512 is not among them.
    pub const ALL: [Self; if cfg!(feature = "es512") { 10 } else { 9 }] = [
        Self::Es256,
        Self::EdDsa,
        Self::Es384,
        Self::Ps256,
        Self::Rs256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs384,
        Self::Rs512,
        #[cfg(feature = "es512")]
        Self::Es512,
    ];

    /// The algorithms that an issuer of this project signs with, the preferred one first. A token of the
    /// profile of RFC 9068 has one of them, unless its [`TrustedIssuer`](crate::verify::TrustedIssuer) allows
    /// others.
    pub const ISSUED: [Self; 5] = [Self::Es256, Self::EdDsa, Self::Es384, Self::Ps256, Self::Rs256];

    /// Returns the JOSE name, as in `alg`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Returns the algorithm of a JOSE name, if it is one of [`Algorithm::ALL`]. `Ed25519` is RFC 9864's name
    /// for RFC 8037's `EdDSA`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "ES512" if cfg!(feature = "es512") => Self::Es512,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            _ => return None,
        })
    }
}

impl Algorithm {
    /// Returns the algorithm of that name in `jsonwebtoken`; `None` for one that is not supported here.
    fn of(algorithm: jsonwebtoken::Algorithm) -> Option<Self> {
        Self::ALL.into_iter().find(|known| jsonwebtoken::Algorithm::try_from(*known) == Ok(algorithm))
    }

    /// Returns the value of `alg` in a JWK of `jsonwebtoken`. There is none for ES512, where the curve
    /// decides.
    fn as_key_algorithm(self) -> Option<KeyAlgorithm> {
        jsonwebtoken::Algorithm::try_from(self).ok().map(KeyAlgorithm::from)
    }
}

impl TryFrom<Algorithm> for jsonwebtoken::Algorithm {
    type Error = KeyError;

    /// Fails for ES512, which `jsonwebtoken` does not have.
    fn try_from(algorithm: Algorithm) -> Result<Self, KeyError> {
        Ok(match algorithm {
            Algorithm::Es256 => Self::ES256,
            Algorithm::Es384 => Self::ES384,
            Algorithm::Es512 => return Err(KeyError::VerifiedOnly(algorithm)),
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Rs384 => Self::RS384,
            Algorithm::Rs512 => Self::RS512,
            Algorithm::Ps256 => Self::PS256,
            Algorithm::Ps384 => Self::PS384,
            Algorithm::Ps512 => Self::PS512,
        })
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of an unusable key. It holds no private material.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key does not have the algorithm's form, or is damaged.
    #[error("the key is not a usable {0} key")]
    Malformed(Algorithm),
    /// The JWK is not a public signing key.
    #[error("the JWK cannot verify signatures: {0}")]
    UnusableJwk(&'static str),
    /// Without the feature `rsa-generation`, RSA keys are imported, not generated.
    #[error("{0} keys cannot be generated here; import one from PEM")]
    CannotGenerate(Algorithm),
    /// Signatures of this algorithm are verified here and not made.
    #[error("{0} signatures are verified here and not made")]
    VerifiedOnly(Algorithm),
    /// The library failed to sign.
    #[error("signing failed")]
    SigningFailed,
}
