//! Private keys generated elsewhere, in PEM. The only source of RSA keys.

use std::fmt;

use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use token_interceptor::signature::{Algorithm, SigningKey};
use zeroize::Zeroizing;

use super::SigningKeyError;

/// A private key generated elsewhere, and the one algorithm that it signs with.
#[derive(Clone)]
pub struct ImportedKey {
    pub(super) algorithm: Algorithm,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl ImportedKey {
    /// Parses a private key: PKCS#8 (`PRIVATE KEY`), or PKCS#1 for RSA (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// When `pem` holds no private key, or the key does not fit `algorithm`.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, SigningKeyError> {
        let mut key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| SigningKeyError::NotPem)?;
        let der = match &key {
            PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der(),
            PrivateKeyDer::Pkcs1(der) => der.secret_pkcs1_der(),
            PrivateKeyDer::Sec1(_) | _ => return Err(SigningKeyError::NotPem),
        };
        let der = Zeroizing::new(der.to_vec());
        zeroize::Zeroize::zeroize(&mut key);
        SigningKey::from_der(algorithm, &der)?;
        Ok(Self { algorithm, der })
    }

    /// Returns the key, ready to sign.
    pub fn signing_key(&self) -> Result<SigningKey, SigningKeyError> {
        Ok(SigningKey::from_der(self.algorithm, &self.der)?)
    }

    /// The one algorithm that the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl fmt::Debug for ImportedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportedKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use token_interceptor::{json, signature::VerifyingKey};

    use super::*;

    /// One key in both forms that OpenSSL writes. See `tests/data/README.md`.
    const RSA: [&[u8]; 2] = [
        include_bytes!("../../tests/data/public-test-key-rsa-2048.pkcs8.pem"),
        include_bytes!("../../tests/data/public-test-key-rsa-2048.pkcs1.pem"),
    ];

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    #[test]
    fn reads_a_private_key_of_the_algorithm_and_no_other() {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let pem = pem("PRIVATE KEY", &der);
        assert_eq!(*ImportedKey::from_pem(Algorithm::Es256, pem.as_bytes()).unwrap().der, *der);
        for other in [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256] {
            assert!(
                matches!(ImportedKey::from_pem(other, pem.as_bytes()), Err(SigningKeyError::Signature(_))),
                "{other}"
            );
        }
    }

    #[test]
    fn an_rsa_key_of_either_pem_form_signs_what_its_published_key_verifies() {
        for (algorithm, other) in [(Algorithm::Rs256, Algorithm::Ps256), (Algorithm::Ps256, Algorithm::Rs256)] {
            for pem in RSA {
                let key = |algorithm| {
                    let imported = ImportedKey::from_pem(algorithm, pem).unwrap();
                    SigningKey::from_der(algorithm, &imported.der).unwrap()
                };
                let jwk = json::object(key(algorithm).public_jwk().to_json().as_bytes()).unwrap();
                assert_eq!((jwk["kty"].as_str(), jwk["alg"].as_str()), (Some("RSA"), Some(algorithm.name())));
                let published = VerifyingKey::from_jwk(&jwk).unwrap();
                let signature = key(algorithm).sign_bytes(b"message").unwrap();
                assert!(published.verifies(b"message", &signature), "{algorithm}");
                assert!(!published.verifies(b"massage", &signature), "{algorithm}");
                assert!(!published.verifies(b"message", &key(other).sign_bytes(b"message").unwrap()), "{algorithm}");
            }
        }
    }

    #[test]
    fn an_rsa_key_is_none_for_other_algorithms() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            for pem in RSA {
                assert!(
                    matches!(ImportedKey::from_pem(algorithm, pem), Err(SigningKeyError::Signature(_))),
                    "{algorithm}"
                );
            }
        }
    }

    #[test]
    fn rejects_what_is_no_private_key() {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let labels = ["PUBLIC KEY", "RSA PUBLIC KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"];
        let others = labels.map(|label| pem(label, &der));
        for text in ["", "hello"].into_iter().chain(others.iter().map(String::as_str)) {
            assert!(
                matches!(ImportedKey::from_pem(Algorithm::Es256, text.as_bytes()), Err(SigningKeyError::NotPem)),
                "{text}"
            );
        }
    }

    #[test]
    fn debug_shows_no_private_key() {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let key = ImportedKey::from_pem(Algorithm::Es256, pem("PRIVATE KEY", &der).as_bytes()).unwrap();
        assert_eq!(format!("{key:?}"), "ImportedKey { algorithm: Es256, .. }");
    }
}
