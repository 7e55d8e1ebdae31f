//! The public key that a client registers for `private_key_jwt`. RFC 7523 section 2.2, RFC 7517.

use std::fmt;

use serde::{Deserialize, Serialize};
use token_interceptor::{
    json,
    signature::{KeyError, VerifyingKey},
};

/// Bytes in a registered JWK, at the most: an RSA key of 8192 bits with room to spare.
const JWK_BYTES_MAX: usize = 4096;

/// A registered public JWK, parsed once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKeyJwk {
    json: String,
    key: VerifyingKey,
}

/// Why a JWK cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The text is not one strict JSON object, or too long.
    #[error("the JWK is not a JSON object of at most {JWK_BYTES_MAX} bytes")]
    NotAnObject,
    /// The key cannot be used to verify signatures.
    #[error(transparent)]
    Unusable(#[from] KeyError),
}

impl PublicKeyJwk {
    /// Reads and checks a public JWK: a signing key of a supported algorithm, without private members.
    ///
    /// # Errors
    ///
    /// When it is anything else.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        if text.len() > JWK_BYTES_MAX {
            return Err(PublicKeyError::NotAnObject);
        }
        let members = json::object(text.as_bytes()).map_err(|_| PublicKeyError::NotAnObject)?;
        let key = VerifyingKey::from_jwk(&members)?;
        Ok(Self { json: serde_json::Value::Object(members).to_string(), key })
    }

    /// The JWK as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The key, to verify with.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }
}

impl TryFrom<String> for PublicKeyJwk {
    type Error = PublicKeyError;

    fn try_from(text: String) -> Result<Self, PublicKeyError> {
        Self::parse(&text)
    }
}

impl From<PublicKeyJwk> for String {
    fn from(jwk: PublicKeyJwk) -> Self {
        jwk.json
    }
}

impl PartialEq for PublicKeyJwk {
    fn eq(&self, other: &Self) -> bool {
        self.json == other.json
    }
}

impl Eq for PublicKeyJwk {}

impl fmt::Debug for PublicKeyJwk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.key, f)
    }
}

#[cfg(test)]
mod tests {
    use token_interceptor::signature::{Algorithm, SigningKey};

    use super::*;

    #[test]
    fn accepts_a_public_signing_key() {
        let private = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let public = SigningKey::from_der(Algorithm::Es256, &private).unwrap().public_jwk();
        let jwk = PublicKeyJwk::parse(&public.to_json()).unwrap();
        assert_eq!(jwk.key().algorithm(), Algorithm::Es256);
        assert_eq!(jwk.key().key_id(), Some(public.key_id()));
    }

    #[test]
    fn rejects_a_private_key_and_what_is_no_key() {
        let private = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"AA"}"#;
        assert!(matches!(PublicKeyJwk::parse(private), Err(PublicKeyError::Unusable(_))));
        assert!(matches!(PublicKeyJwk::parse("[]"), Err(PublicKeyError::NotAnObject)));
        let long = format!("{{\"a\":\"{}\"}}", "x".repeat(JWK_BYTES_MAX));
        assert!(matches!(PublicKeyJwk::parse(&long), Err(PublicKeyError::NotAnObject)));
    }
}
