//! Private keys.

use std::fmt;

use jsonwebtoken::{
    crypto::JwtSigner,
    jwk::Jwk,
    signature::{Error as SignatureError, Signer},
};
use ring::{
    rand::SystemRandom,
    signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair},
};
use zeroize::Zeroizing;

use super::{Algorithm, KeyError, PublicJwk, VerifyingKey};

/// A private key, parsed once, with its one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    /// The algorithm by its name in `jsonwebtoken`.
    named: jsonwebtoken::Algorithm,
    pair: Pair,
    random: SystemRandom,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>, &'static dyn signature::RsaEncoding),
    /// The program's own signer.
    Signer(Box<dyn JwtSigner + Send + Sync>, Box<PublicJwk>),
}

impl SigningKey {
    /// Generates a private key, as PKCS#8 DER.
    ///
    /// # Errors
    ///
    /// For the RSA algorithms without the feature `rsa-generation`, as `ring` does not generate their keys.
    /// For ES512, which is only verified. When the system has no randomness.
    pub fn generate_pkcs8(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let random = SystemRandom::new();
        let document = match algorithm {
            Algorithm::Es256 => EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            Algorithm::Es384 => EcdsaKeyPair::generate_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, &random),
            Algorithm::Es512 => return Err(KeyError::VerifiedOnly(algorithm)),
            Algorithm::EdDsa => Ed25519KeyPair::generate_pkcs8(&random),
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => return generate_rsa_pkcs8(algorithm),
        };
        let document = document.map_err(|_| KeyError::SigningFailed)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Returns true if [`SigningKey::generate_pkcs8`] can generate keys of this algorithm.
    #[must_use]
    pub fn generates(algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => true,
            Algorithm::Es512 => false,
            Algorithm::Rs256
            | Algorithm::Rs384
            | Algorithm::Rs512
            | Algorithm::Ps256
            | Algorithm::Ps384
            | Algorithm::Ps512 => cfg!(feature = "rsa-generation"),
        }
    }

    /// Reads a private key from PKCS#8 DER (for RSA also PKCS#1 DER).
    ///
    /// # Errors
    ///
    /// Returns an error if the DER is not a private key of the algorithm's kind and size. For ES512, which is
    /// only verified.
    pub fn from_der(algorithm: Algorithm, der: &[u8]) -> Result<Self, KeyError> {
        let named = algorithm.try_into()?;
        let random = SystemRandom::new();
        let malformed = |_| KeyError::Malformed(algorithm);
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ec(
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P256_SHA256_FIXED_SIGNING, der, &random)
                    .map_err(malformed)?,
            ),
            Algorithm::Es384 => Pair::Ec(
                EcdsaKeyPair::from_pkcs8(&signature::ECDSA_P384_SHA384_FIXED_SIGNING, der, &random)
                    .map_err(malformed)?,
            ),
            Algorithm::Es512 => return Err(KeyError::VerifiedOnly(algorithm)),
            // OpenSSL writes version 1 without the public key; ring writes version 2.
            Algorithm::EdDsa => Pair::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(malformed)?),
            Algorithm::Rs256 => rsa(der, &signature::RSA_PKCS1_SHA256).map_err(malformed)?,
            Algorithm::Rs384 => rsa(der, &signature::RSA_PKCS1_SHA384).map_err(malformed)?,
            Algorithm::Rs512 => rsa(der, &signature::RSA_PKCS1_SHA512).map_err(malformed)?,
            Algorithm::Ps256 => rsa(der, &signature::RSA_PSS_SHA256).map_err(malformed)?,
            Algorithm::Ps384 => rsa(der, &signature::RSA_PSS_SHA384).map_err(malformed)?,
            Algorithm::Ps512 => rsa(der, &signature::RSA_PSS_SHA512).map_err(malformed)?,
        };
        Ok(Self { algorithm, named, pair, random })
    }

    /// Wraps a signer of the program's own, such as one that calls a hardware module. It signs once here, to
    /// prove that `public` is its public key. Each token waits for it, so it must be fast.
    ///
    /// # Errors
    ///
    /// When `public` is not a public signing key, the signer has another algorithm or another key, or it
    /// fails.
    pub fn from_signer(signer: impl JwtSigner + Send + Sync + 'static, public: &Jwk) -> Result<Self, KeyError> {
        const PROBE: &[u8] = b"token-interceptor: does this key belong to this signer?";
        let named = signer.algorithm();
        let algorithm = Algorithm::of(named).ok_or(KeyError::UnusableJwk("the signer's algorithm is not supported"))?;
        let mut public = public.clone();
        // An RSA key without `alg` would be taken for RS256.
        public.common.key_algorithm.get_or_insert_with(|| named.into());
        let verifying = VerifyingKey::try_from(&public)?;
        if verifying.algorithm() != algorithm {
            return Err(KeyError::Malformed(algorithm));
        }
        let signature = signer.try_sign(PROBE).map_err(|_| KeyError::SigningFailed)?;
        if !verifying.verifies(PROBE, &signature) {
            return Err(KeyError::Malformed(algorithm));
        }
        let pair = Pair::Signer(Box::new(signer), Box::new(PublicJwk::of(&verifying)));
        Ok(Self { algorithm, named, pair, random: SystemRandom::new() })
    }

    /// Returns the one algorithm that the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Returns the public half as a JWK, with `kid` (RFC 7638 thumbprint), `alg` and `use`.
    #[must_use]
    pub fn public_jwk(&self) -> PublicJwk {
        match &self.pair {
            Pair::Ec(pair) => PublicJwk::ec(self.algorithm, pair.public_key().as_ref()),
            Pair::Ed(pair) => PublicJwk::ed25519(pair.public_key().as_ref()),
            Pair::Rsa(pair, _) => {
                let public = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                PublicJwk::rsa(self.algorithm, &public.n, &public.e)
            }
            Pair::Signer(_, public) => PublicJwk::clone(public),
        }
    }

    /// Signs `message`. Returns the signature in JWS form (RFC 7518 section 3).
    ///
    /// # Errors
    ///
    /// Returns an error if the system provides no random bytes.
    pub fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::SigningFailed;
        Ok(match &self.pair {
            Pair::Ec(pair) => pair.sign(&self.random, message).map_err(failed)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &self.random, message, &mut signature).map_err(failed)?;
                signature
            }
            Pair::Signer(signer, _) => signer.try_sign(message).map_err(|_| KeyError::SigningFailed)?,
        })
    }
}

/// 3072 bits: as strong as P-256. NIST SP 800-57 part 1, table 2.
#[cfg(feature = "rsa-generation")]
fn generate_rsa_pkcs8(_: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    use aws_lc_rs::{
        encoding::{AsDer as _, Pkcs8V1Der},
        rsa::{KeyPair, KeySize},
    };
    let pair = KeyPair::generate(KeySize::Rsa3072).map_err(|_| KeyError::SigningFailed)?;
    let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeyError::SigningFailed)?;
    Ok(Zeroizing::new(document.as_ref().to_vec()))
}

#[cfg(not(feature = "rsa-generation"))]
fn generate_rsa_pkcs8(algorithm: Algorithm) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    Err(KeyError::CannotGenerate(algorithm))
}

fn rsa(der: &[u8], encoding: &'static dyn signature::RsaEncoding) -> Result<Pair, ring::error::KeyRejected> {
    let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der))?;
    Ok(Pair::Rsa(Box::new(pair), encoding))
}

impl Signer<Vec<u8>> for SigningKey {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        self.sign_bytes(message).map_err(SignatureError::from_source)
    }
}

impl JwtSigner for SigningKey {
    fn algorithm(&self) -> jsonwebtoken::Algorithm {
        self.named
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(algorithm: Algorithm) -> SigningKey {
        SigningKey::from_der(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap()
    }

    /// A key is itself a signer of `jsonwebtoken`, so it stands for one of the program's own.
    #[test]
    fn signer_of_the_program_signs_with_its_own_key_alone() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let (key, other) = (generated(algorithm), generated(algorithm));
            let (public, of_other) = (key.public_jwk(), other.public_jwk());
            let mismatch = SigningKey::from_signer(generated(algorithm), of_other.as_jwk());
            assert_eq!(mismatch.unwrap_err(), KeyError::Malformed(algorithm));
            let wrapped = SigningKey::from_signer(key, public.as_jwk()).unwrap();
            assert_eq!((wrapped.algorithm(), wrapped.public_jwk()), (algorithm, public.clone()));
            let signature = wrapped.sign_bytes(b"message").unwrap();
            assert!(public.verifying_key().unwrap().verifies(b"message", &signature), "{algorithm}");
        }
        let (signer, other) = (generated(Algorithm::Es256), generated(Algorithm::EdDsa).public_jwk());
        assert_eq!(SigningKey::from_signer(signer, other.as_jwk()).unwrap_err(), KeyError::Malformed(Algorithm::Es256));
    }

    #[test]
    fn what_can_be_made_signs_and_what_cannot_says_so() {
        for algorithm in Algorithm::ALL {
            match SigningKey::generate_pkcs8(algorithm) {
                Ok(der) => {
                    assert!(SigningKey::generates(algorithm));
                    let key = SigningKey::from_der(algorithm, &der).unwrap();
                    let jwk = crate::json::object(key.public_jwk().to_json().as_bytes()).unwrap();
                    let public = crate::signature::VerifyingKey::from_jwk(&jwk).unwrap();
                    assert!(public.verifies(b"message", &key.sign_bytes(b"message").unwrap()), "{algorithm}");
                    assert!(!public.verifies(b"another", &key.sign_bytes(b"message").unwrap()), "{algorithm}");
                }
                Err(error) => {
                    let verified_only = algorithm == Algorithm::Es512;
                    let expected = if verified_only { KeyError::VerifiedOnly } else { KeyError::CannotGenerate };
                    assert_eq!(error, expected(algorithm));
                    assert!(!SigningKey::generates(algorithm));
                    assert_eq!(SigningKey::from_der(algorithm, &[]).err() == Some(error), verified_only);
                }
            }
        }
    }
}
