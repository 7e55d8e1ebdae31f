//! An issuer within the process.

use std::sync::Arc;

use super::{FakeClock, TokenBuilder};
use crate::{
    clock::{Clock, numeric_date},
    key_set::KeySet,
    signature::{Algorithm, SigningKey},
    verify::{TrustedIssuer, Verifier},
};

/// Issues whatever a test asks for. Its clock is the one that its verifier reads.
#[derive(Clone, Debug)]
pub struct TestIssuer {
    issuer: Arc<str>,
    key: Arc<SigningKey>,
    clock: Arc<FakeClock>,
}

impl TestIssuer {
    /// An issuer with a new ES256 key.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self::with_algorithm(issuer, Algorithm::Es256)
    }

    /// An issuer with a new key of another algorithm; RSA keys are read from DER, see
    /// [`TestIssuer::with_key`].
    #[must_use]
    pub fn with_algorithm(issuer: &str, algorithm: Algorithm) -> Self {
        let der = SigningKey::generate_pkcs8(algorithm).expect("ring generates keys of this algorithm");
        Self::with_key(issuer, SigningKey::from_der(algorithm, &der).expect("ring reads the key that it generated"))
    }

    /// An issuer with this key.
    #[must_use]
    pub fn with_key(issuer: &str, key: SigningKey) -> Self {
        Self { issuer: issuer.into(), key: Arc::new(key), clock: Arc::default() }
    }

    /// The same issuer, by the same clock, with a new key: what a rotation leaves.
    #[must_use]
    pub fn rotated(&self) -> Self {
        let fresh = Self::with_algorithm(&self.issuer, self.key.algorithm());
        Self { clock: Arc::clone(&self.clock), ..fresh }
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The clock, for the test to set.
    #[must_use]
    pub fn clock(&self) -> Arc<FakeClock> {
        Arc::clone(&self.clock)
    }

    /// The signing key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The key ID that its tokens name.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.key.public_jwk().key_id().to_owned()
    }

    /// The JWK Set that a real issuer would serve.
    #[must_use]
    pub fn jwks(&self) -> String {
        format!(r#"{{"keys":[{}]}}"#, self.key.public_jwk().to_json())
    }

    /// The issuer as a verifier trusts it.
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuer {
        let keys = KeySet::from_jwks(self.jwks().as_bytes()).expect("a key set that was just written");
        TrustedIssuer::fixed(&self.issuer, keys).expect("the issuer identifier is not empty")
    }

    /// A verifier that trusts this issuer alone, with the default leeway of 5 seconds.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let builder = Verifier::builder().issuer(self.trusted()).clock(self.clock());
        builder.build().expect("one issuer with fixed keys")
    }

    /// A good token to begin with: of client `orders` for audience `inventory`, issued now, for five minutes.
    #[must_use]
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(&self.issuer, Arc::clone(&self.key), numeric_date(self.clock.now()))
    }
}
