//! Client assertions: a signed statement in place of a secret. RFC 7523 section 3, RFC 7521 section 4.2.

use std::{fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use crate::{
    clock::{Clock, SystemClock, numeric_date},
    signature::{KeyError, SigningKey},
};

/// The type of the JWT, so that no other JWT of the client passes for an assertion (RFC 8725 section 3.11).
const ASSERTION_TYP: &str = "client-authentication+jwt";
/// The lifetime of an assertion: long enough for a small clock skew. A server has to remember each `jti` for
/// as long.
const LIFETIME: Duration = Duration::from_secs(60);

/// `private_key_jwt`: the client signs, the issuer has its public key. No secret is ever sent.
pub struct PrivateKeyJwt {
    key: SigningKey,
    key_id: String,
    issuer: String,
    clock: Arc<dyn Clock>,
}

impl PrivateKeyJwt {
    /// Signs with `key` for the issuer of this identifier, the assertion's only audience. With the token
    /// endpoint's URL, or with several audiences, a malicious server could obtain an assertion for another
    /// server.
    pub fn new(key: SigningKey, issuer: impl Into<String>) -> Self {
        let key_id = key.public_jwk().key_id().to_owned();
        Self { key, key_id, issuer: issuer.into(), clock: SystemClock::shared() }
    }

    /// Sets the `kid` by which the issuer knows the key. Default: its RFC 7638 thumbprint.
    #[must_use]
    pub fn key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = key_id.into();
        self
    }

    /// Replaces the machine's clock.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Returns a new assertion: each is valid for one use.
    pub(super) fn sign(&self, client_id: &str) -> Result<String, KeyError> {
        let mut token_id = [0; 16];
        SystemRandom::new().fill(&mut token_id).map_err(|_| KeyError::SigningFailed)?;
        let now = numeric_date(self.clock.now());
        let header = json!({"typ": ASSERTION_TYP, "alg": self.key.algorithm().name(), "kid": self.key_id});
        let claims = json!({
            "iss": client_id,
            "sub": client_id,
            "aud": self.issuer,
            "jti": URL_SAFE_NO_PAD.encode(token_id),
            "iat": now,
            "exp": now + LIFETIME.as_secs(),
        });
        let encode = |part: &serde_json::Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let message = format!("{}.{}", encode(&header), encode(&claims));
        let signature = self.key.sign_bytes(message.as_bytes())?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl fmt::Debug for PrivateKeyJwt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKeyJwt")
            .field("key_id", &self.key_id)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Algorithm, VerifyingKey};

    fn signed() -> (SigningKey, Vec<String>) {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        let key = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
        let assertions = PrivateKeyJwt::new(key, "https://issuer.example");
        let signed = vec![assertions.sign("orders").unwrap(), assertions.sign("orders").unwrap()];
        (SigningKey::from_der(Algorithm::Es256, &der).unwrap(), signed)
    }

    fn part(assertion: &str, index: usize) -> serde_json::Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(assertion.split('.').nth(index).unwrap()).unwrap()).unwrap()
    }

    #[test]
    fn is_for_the_issuer_alone_and_says_what_it_is() {
        let (key, signed) = signed();
        let (header, claims) = (part(&signed[0], 0), part(&signed[0], 1));
        assert_eq!(header["typ"], "client-authentication+jwt");
        assert_eq!(header["kid"], key.public_jwk().key_id());
        assert_eq!(claims["aud"], "https://issuer.example");
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("orders"), &json!("orders")));
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
    }

    #[test]
    fn is_good_for_one_use() {
        let (_, signed) = signed();
        assert_ne!(part(&signed[0], 1)["jti"], part(&signed[1], 1)["jti"]);
    }

    #[test]
    fn verifies_by_the_public_key() {
        let (key, signed) = signed();
        let (message, signature) = signed[0].rsplit_once('.').unwrap();
        let jwk = crate::json::object(key.public_jwk().to_json().as_bytes()).unwrap();
        let verifying = VerifyingKey::from_jwk(&jwk).unwrap();
        assert!(verifying.verifies(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()));
    }
}
