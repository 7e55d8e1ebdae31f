//! Dummy keys, for the signature check of an assertion that has no client or no key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use token_interceptor::{
    json,
    signature::{Algorithm, SigningKey, VerifyingKey},
};

/// The point on P-521 with x = 1. Its private key is unknown: the product makes no keys on this curve.
const P521: &str = concat!(
    r#"{"kty":"EC","crv":"P-521","#,
    r#""x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB","#,
    r#""y":"ABDlm-k8TyacAmnHnir9ZdauqptwHqzBlPs-4D30eEm_VQ7GNuvuDd1KFvHNlAZgWvOPWEVndw4_Jy1ojIMuhDVk"}"#,
);

/// One key for each algorithm.
#[derive(Debug)]
pub(super) struct DummyKeys([Option<VerifyingKey>; Algorithm::ALL.len()]);

impl DummyKeys {
    /// Generates all keys at once. A key generated on first use would make the first unknown client slower
    /// than the rest.
    pub(super) fn make() -> Self {
        Self(Algorithm::ALL.map(make))
    }

    pub(super) fn key(&self, algorithm: Algorithm) -> Option<&VerifyingKey> {
        self.0.iter().flatten().find(|key| key.algorithm() == algorithm)
    }
}

fn make(algorithm: Algorithm) -> Option<VerifyingKey> {
    let jwk = match algorithm {
        Algorithm::Es256 | Algorithm::Es384 | Algorithm::EdDsa => {
            let der = SigningKey::generate_pkcs8(algorithm).ok()?;
            SigningKey::from_der(algorithm, &der).ok()?.public_jwk().to_json()
        }
        Algorithm::Es512 => P521.to_owned(),
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => rsa(algorithm),
    };
    VerifyingKey::from_jwk(&json::object(jwk.as_bytes()).ok()?).ok()
}

/// An odd number of 2048 bits. It costs as much as a real modulus.
fn rsa(algorithm: Algorithm) -> String {
    let modulus = URL_SAFE_NO_PAD.encode([0xa5; 256]);
    format!(r#"{{"kty":"RSA","alg":"{algorithm}","n":"{modulus}","e":"AQAB"}}"#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_key_for_every_algorithm_and_it_accepts_nothing() {
        let keys = DummyKeys::make();
        for algorithm in Algorithm::ALL {
            let key = keys.key(algorithm).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            for signature in [&[0; 256][..], &[1; 132]] {
                assert!(!key.verifies(b"message", signature));
            }
        }
    }
}
