//! Signs tokens. This is the one expensive step on the hot path.

use std::fmt;

use base64::{Engine as _, encoded_len, engine::general_purpose::URL_SAFE_NO_PAD};
use token_interceptor::signature::{Algorithm, PublicJwk, SigningKey};

use super::SigningKeyError;

/// The capacity reserved for an encoded signature, in bytes. ES256, Ed25519 and ES384 fit.
const SIGNATURE_CHARS: usize = 128;

/// A private key that is ready to sign access tokens. RFC 9068 section 2.1, RFC 7515 section 7.1.
pub struct Signer {
    key: SigningKey,
    public: PublicJwk,
    /// `{"typ":"at+jwt",…}` in base64url, followed by the dot.
    header: String,
}

impl Signer {
    /// Creates a signer from a key.
    #[must_use]
    pub fn new(key: SigningKey) -> Self {
        let public = key.public_jwk();
        // Both values consist of letters and base64url characters, so they need no escape.
        let header = format!(r#"{{"typ":"at+jwt","alg":"{}","kid":"{}"}}"#, key.algorithm(), public.key_id());
        let header = URL_SAFE_NO_PAD.encode(header) + ".";
        Self { key, public, header }
    }

    /// The `kid`: the RFC 7638 thumbprint.
    #[must_use]
    pub fn key_id(&self) -> &str {
        self.public.key_id()
    }

    /// The one algorithm that the key signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }

    /// The public key.
    #[must_use]
    pub fn public_jwk(&self) -> &PublicJwk {
        &self.public
    }

    /// Signs JSON claims. Returns the token in JWS compact serialization.
    ///
    /// # Errors
    ///
    /// When the system's random number generator fails.
    pub fn sign(&self, claims_json: &[u8]) -> Result<String, SigningKeyError> {
        let claims_chars = encoded_len(claims_json.len(), false).unwrap_or_default();
        let mut token = String::with_capacity(self.header.len() + claims_chars + 1 + SIGNATURE_CHARS);
        token.push_str(&self.header);
        URL_SAFE_NO_PAD.encode_string(claims_json, &mut token);
        let signature = self.key.sign_bytes(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("key_id", &self.key_id())
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use token_interceptor::{json, signature::VerifyingKey};

    use super::*;

    fn signer(algorithm: Algorithm) -> Signer {
        let der = SigningKey::generate_pkcs8(algorithm).unwrap();
        Signer::new(SigningKey::from_der(algorithm, &der).unwrap())
    }

    #[test]
    fn a_signed_token_verifies_under_the_published_key() {
        for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
            let signer = signer(algorithm);
            let token = signer.sign(br#"{"sub":"orders"}"#).unwrap();
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let jwk = json::object(signer.public_jwk().to_json().as_bytes()).unwrap();
            let key = VerifyingKey::from_jwk(&jwk).unwrap();
            assert!(key.verifies(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()), "{algorithm}");
        }
    }

    #[test]
    fn the_header_says_type_algorithm_and_key_and_nothing_more() {
        let signer = signer(Algorithm::Es256);
        let token = signer.sign(b"{}").unwrap();
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header = json::object(&header).unwrap();
        assert_eq!(header.len(), 3);
        assert_eq!(header["typ"], "at+jwt");
        assert_eq!(header["alg"], "ES256");
        assert_eq!(header["kid"], signer.key_id());
    }

    #[test]
    fn the_token_is_written_into_one_allocation() {
        let signer = signer(Algorithm::Es256);
        let claims = vec![b' '; 300];
        let token = signer.sign(&claims).unwrap();
        let reserved = signer.header.len() + 400 + 1 + SIGNATURE_CHARS;
        assert!(token.len() <= reserved && token.capacity() == reserved);
    }

    #[test]
    fn debug_shows_no_private_key() {
        let signer = signer(Algorithm::Es256);
        let expected = format!("Signer {{ key_id: {:?}, algorithm: Es256, .. }}", signer.key_id());
        assert_eq!(format!("{signer:?}"), expected);
    }
}
