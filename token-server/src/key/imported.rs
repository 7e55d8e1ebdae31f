//! Private keys made elsewhere, in PEM: the way to have RSA keys.

use std::fmt;

use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use token_interceptor::signature::{Algorithm, SigningKey};
use zeroize::Zeroizing;

use super::KeyError;

/// A private key made elsewhere, and the one algorithm that it is to sign with.
#[derive(Clone)]
pub struct ImportedKey {
    pub(super) algorithm: Algorithm,
    pub(super) der: Zeroizing<Vec<u8>>,
}

impl ImportedKey {
    /// Reads a private key: PKCS#8 (`PRIVATE KEY`), for RSA also PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    ///
    /// When there is none in `pem`, or it is not one for `algorithm`.
    pub fn from_pem(algorithm: Algorithm, pem: &[u8]) -> Result<Self, KeyError> {
        let mut key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| KeyError::NotPem)?;
        let der = match &key {
            PrivateKeyDer::Pkcs8(der) => der.secret_pkcs8_der(),
            PrivateKeyDer::Pkcs1(der) => der.secret_pkcs1_der(),
            PrivateKeyDer::Sec1(_) | _ => return Err(KeyError::NotPem),
        };
        let der = Zeroizing::new(der.to_vec());
        zeroize::Zeroize::zeroize(&mut key);
        SigningKey::from_der(algorithm, &der)?;
        Ok(Self { algorithm, der })
    }

    /// The one algorithm that it is to sign with.
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

    use super::*;

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    #[test]
    fn reads_a_private_key_of_the_algorithm_and_no_other() {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let pem = pem("PRIVATE KEY", &der);
        assert_eq!(*ImportedKey::from_pem(Algorithm::Es256, pem.as_bytes()).unwrap().der, *der);
        for other in [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256] {
            assert!(matches!(ImportedKey::from_pem(other, pem.as_bytes()), Err(KeyError::Signature(_))), "{other}");
        }
    }

    #[test]
    fn rejects_what_is_no_private_key() {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        for text in ["", "hello", &pem("PUBLIC KEY", &der), &pem("EC PRIVATE KEY", &der)] {
            assert!(
                matches!(ImportedKey::from_pem(Algorithm::Es256, text.as_bytes()), Err(KeyError::NotPem)),
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
