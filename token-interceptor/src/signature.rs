//! Signatures over `ring`, with `jsonwebtoken`'s JWK types, and behind its signer and verifier
//! traits.
//!
//! A key is parsed once, together with the only algorithm it is used with. So a token's header cannot choose
//! the algorithm (RFC 8725 section 3.1). There is no HMAC and no `none`.

mod jwk;
mod verifying;
mod public_jwk;
mod signing;

use std::fmt;

pub use jwk::thumbprint;
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
    /// Every algorithm that signatures are verified with, the preferred one first. ES512 is not among them,
    /// because `ring` has no P-521.
    pub const ALL: [Self; 9] = [
        Self::Es256,
        Self::EdDsa,
        Self::Es384,
        Self::Ps256,
        Self::Rs256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs384,
        Self::Rs512,
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
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
        }
    }

    /// Returns the algorithm of a JOSE name. `Ed25519` is RFC 9864's name for RFC 8037's `EdDSA`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
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
        Self::ALL.into_iter().find(|known| jsonwebtoken::Algorithm::from(*known) == algorithm)
    }
}

impl From<Algorithm> for jsonwebtoken::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::ES256,
            Algorithm::Es384 => Self::ES384,
            Algorithm::EdDsa => Self::EdDSA,
            Algorithm::Rs256 => Self::RS256,
            Algorithm::Rs384 => Self::RS384,
            Algorithm::Rs512 => Self::RS512,
            Algorithm::Ps256 => Self::PS256,
            Algorithm::Ps384 => Self::PS384,
            Algorithm::Ps512 => Self::PS512,
        }
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
    /// The library failed to sign.
    #[error("signing failed")]
    SigningFailed,
}
