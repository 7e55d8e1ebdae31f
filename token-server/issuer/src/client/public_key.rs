//! The public key that a client registers for `private_key_jwt`. RFC 7523 section 2.2, RFC 7517.

use std::fmt;

use serde::{Deserialize, Serialize};
use token_interceptor::{
    json,
    signature::{KeyError, VerifyingKey},
};

/// The longest registered JWK, in bytes: room for an RSA key of 8192 bits.
const JWK_BYTES_MAX: usize = 4096;

/// A registered public JWK, parsed once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKeyJwk {
    json: String,
    key: VerifyingKey,
}

/// The reason why a JWK cannot be registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The text is not one strict JSON object, or it is too long.
    #[error("the JWK is not a JSON object of at most {JWK_BYTES_MAX} bytes")]
    NotAnObject,
    /// An RSA key without `alg`. An RSA key works with two algorithms; a registered key has exactly one.
    #[error("an RSA key must name its algorithm: \"alg\": \"RS256\" or \"PS256\"")]
    RsaWithoutAlgorithm,
    /// The key cannot be used to verify signatures.
    #[error(transparent)]
    Unusable(#[from] KeyError),
}

impl PublicKeyJwk {
    /// Reads and checks a public JWK: a signing key of a supported algorithm, without private members.
    ///
    /// # Errors
    ///
    /// When the text is anything else.
    pub fn parse(text: &str) -> Result<Self, PublicKeyError> {
        if text.len() > JWK_BYTES_MAX {
            return Err(PublicKeyError::NotAnObject);
        }
        let members = json::object(text.as_bytes()).map_err(|_| PublicKeyError::NotAnObject)?;
        let key = VerifyingKey::from_jwk(&members)?;
        Ok(Self { json: serde_json::Value::Object(members).to_string(), key })
    }

    /// Reads and checks a JWK for registration. An RSA key must name its algorithm. With RS256 as the
    /// default, a client that signs with PS256 would be rejected, and the error would not give the reason.
    ///
    /// # Errors
    ///
    /// As [`PublicKeyJwk::parse`], and for an RSA key without `alg`.
    pub fn register(text: &str) -> Result<Self, PublicKeyError> {
        let parsed = Self::parse(text)?;
        let members = json::object(text.as_bytes()).map_err(|_| PublicKeyError::NotAnObject)?;
        let is_rsa = members.get("kty").is_some_and(|kty| kty == "RSA");
        if is_rsa && !members.contains_key("alg") { Err(PublicKeyError::RsaWithoutAlgorithm) } else { Ok(parsed) }
    }

    /// The JWK as JSON.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.json
    }

    /// The key that verifies signatures.
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
    fn an_rsa_key_without_an_algorithm_is_not_registered() {
        let n = "x".repeat(352);
        let jwk = |alg: &str| format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB"{alg}}}"#);
        let refused = PublicKeyJwk::register(&jwk("")).err();
        if let Some(PublicKeyError::Unusable(error)) = &refused {
            panic!("the key of this test is unusable: {error}");
        }
        assert!(matches!(refused, Some(PublicKeyError::RsaWithoutAlgorithm)));
        for alg in ["RS256", "PS256"] {
            let registered = PublicKeyJwk::register(&jwk(&format!(r#","alg":"{alg}""#))).unwrap();
            assert_eq!(registered.key().algorithm().name(), alg);
        }
        // A key that was stored without `alg` is still readable.
        assert_eq!(PublicKeyJwk::parse(&jwk("")).unwrap().key().algorithm(), Algorithm::Rs256);
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
