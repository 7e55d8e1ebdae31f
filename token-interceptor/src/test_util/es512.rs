//! A key for ES512, which the product verifies and does not sign with.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p521::ecdsa::{Signature, SigningKey, signature::Signer as _};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use super::TokenBuilder;
use crate::signature::thumbprint;

/// A private key on P-521, for a test's own tokens of an issuer that signs with ES512. RFC 7518 section 3.4.
///
/// ```
/// use token_interceptor::{
///     key_set::KeySet,
///     signature::Algorithm,
///     test_util::{Es512Key, TestIssuer},
///     token::UnverifiedToken,
///     verify::{TrustedIssuer, Verifier},
/// };
///
/// let (issuer, key) = (TestIssuer::new("https://issuer.example"), Es512Key::generate());
/// let keys = KeySet::from_jwks(key.jwks().as_bytes())?;
/// let trusted = TrustedIssuer::fixed(issuer.issuer(), keys)?.algorithms(&[Algorithm::Es512]);
/// let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build()?;
/// let token = key.sign(issuer.token());
/// assert!(verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Es512Key(SigningKey);

impl Es512Key {
    /// Generates a key.
    #[must_use]
    pub fn generate() -> Self {
        let random = SystemRandom::new();
        loop {
            let mut scalar = [0; 66];
            random.fill(&mut scalar).expect("the system has randomness");
            // 521 bits: of the first octet, one.
            if let Some(first) = scalar.first_mut() {
                *first &= 1;
            }
            if let Ok(key) = SigningKey::from_slice(&scalar) {
                return Self(key);
            }
        }
    }

    /// Returns the public JWK, with `kid` (RFC 7638 thumbprint), `alg` and `use`.
    #[must_use]
    pub fn jwk(&self) -> Value {
        let point = self.0.verifying_key().to_sec1_point(false);
        let coordinates = point.as_bytes().get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        let mut jwk = json!({
            "kty": "EC", "crv": "P-521", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
            "alg": "ES512", "use": "sig",
        });
        let key_id = jwk.as_object().and_then(thumbprint);
        if let Some(members) = jwk.as_object_mut() {
            members.insert("kid".to_owned(), key_id.into());
        }
        jwk
    }

    /// Returns the JWK Set with this one key.
    #[must_use]
    pub fn jwks(&self) -> String {
        json!({ "keys": [self.jwk()] }).to_string()
    }

    /// Returns the key ID: the RFC 7638 thumbprint.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.jwk().get("kid").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Signs `message`. Returns r and s, 66 octets each.
    #[must_use]
    pub fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(message);
        signature.to_bytes().to_vec()
    }

    /// Returns the token, signed by this key. Its header names the key and ES512.
    #[must_use]
    pub fn sign(&self, token: TokenBuilder) -> String {
        let unsigned = token.header("alg", "ES512").header("kid", self.key_id()).unsigned();
        format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(self.sign_bytes(unsigned.as_bytes())))
    }
}

impl std::fmt::Debug for Es512Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Es512Key").finish_non_exhaustive()
    }
}
