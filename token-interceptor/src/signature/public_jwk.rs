//! Public keys that this program publishes.

use jsonwebtoken::jwk::{AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, PublicKeyUse};
use serde::Serialize;

use super::{
    Algorithm, KeyError, VerifyingKey,
    jwk::{self, encode},
    verifying::Public,
};

/// A public signing key, ready to be written into a key set: with `kid`, `alg` and `use`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PublicJwk {
    jwk: Jwk,
    #[serde(skip)]
    key_id: String,
}

impl PublicJwk {
    /// `point` is uncompressed: 0x04, x, y.
    pub(super) fn ec(algorithm: Algorithm, point: &[u8]) -> Self {
        let curves = [(Algorithm::Es384, EllipticCurve::P384), (Algorithm::Es512, EllipticCurve::P521)];
        let curve = curves.into_iter().find(|(of, _)| *of == algorithm).map_or(EllipticCurve::P256, |(_, curve)| curve);
        let coordinates = point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Self::new(algorithm, jwk::ec(curve, encode(x), encode(y)))
    }

    pub(super) fn ed25519(x: &[u8]) -> Self {
        Self::new(Algorithm::EdDsa, jwk::okp(encode(x)))
    }

    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Self {
        Self::new(algorithm, jwk::rsa(encode(n), encode(e)))
    }

    /// The public half of a key that signs elsewhere, written anew in canonical form.
    pub(super) fn of(key: &VerifyingKey) -> Self {
        match key.public() {
            Public::Point(x) if key.algorithm() == Algorithm::EdDsa => Self::ed25519(x),
            Public::Point(point) => Self::ec(key.algorithm(), point),
            Public::Rsa { n, e } => Self::rsa(key.algorithm(), n, e),
        }
    }

    fn new(algorithm: Algorithm, parameters: AlgorithmParameters) -> Self {
        let key_id = jwk::thumbprint_of(&parameters).unwrap_or_default();
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: algorithm.as_key_algorithm(),
            key_id: Some(key_id.clone()),
            ..CommonParameters::default()
        };
        Self { jwk: Jwk { common, algorithm: parameters }, key_id }
    }

    /// Returns the key ID: the key's RFC 7638 thumbprint with SHA-256.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the JWK as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the JWK as `jsonwebtoken` has it.
    #[must_use]
    pub fn as_jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Returns the key that verifies with it.
    ///
    /// # Errors
    ///
    /// When the key is too weak to be one: [`VerifyingKey::from_jwk`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::try_from(&self.jwk)
    }
}
