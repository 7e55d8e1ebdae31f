//! An in-process issuer.

use std::sync::Arc;

use super::{FakeClock, TestSource, TokenBuilder};
use crate::{
    clock::{Clock, numeric_date},
    key_set::KeySet,
    signature::{Algorithm, SigningKey},
    verify::{TrustedIssuer, Verifier},
};

/// An issuer that issues any token that a test requests. Its verifier reads the same clock.
#[derive(Clone, Debug)]
pub struct TestIssuer {
    issuer: Arc<str>,
    key: Arc<SigningKey>,
    clock: Arc<FakeClock>,
}

impl TestIssuer {
    /// Creates an issuer with a new ES256 key.
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self::with_algorithm(issuer, Algorithm::Es256)
    }

    /// Creates an issuer with a new key of another algorithm. For RSA use [`TestIssuer::with_key`], with a
    /// key read from DER.
    #[must_use]
    pub fn with_algorithm(issuer: &str, algorithm: Algorithm) -> Self {
        let der = SigningKey::generate_pkcs8(algorithm).expect("ring generates keys of this algorithm");
        Self::with_key(issuer, SigningKey::from_der(algorithm, &der).expect("ring reads the key that it generated"))
    }

    /// Creates an issuer with this key.
    #[must_use]
    pub fn with_key(issuer: &str, key: SigningKey) -> Self {
        Self { issuer: issuer.into(), key: Arc::new(key), clock: Arc::default() }
    }

    /// Returns the same issuer, with the same clock and a new key, as after a rotation.
    #[must_use]
    pub fn rotated(&self) -> Self {
        let fresh = Self::with_algorithm(&self.issuer, self.key.algorithm());
        Self { clock: Arc::clone(&self.clock), ..fresh }
    }

    /// Returns the issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Returns the clock, for the test to set.
    #[must_use]
    pub fn clock(&self) -> Arc<FakeClock> {
        Arc::clone(&self.clock)
    }

    /// Returns the signing key.
    #[must_use]
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// Returns the key ID that its tokens name.
    #[must_use]
    pub fn key_id(&self) -> String {
        self.key.public_jwk().key_id().to_owned()
    }

    /// Returns the JWK Set that a real issuer would serve.
    #[must_use]
    pub fn jwks(&self) -> String {
        format!(r#"{{"keys":[{}]}}"#, self.key.public_jwk().to_json())
    }

    /// Returns the issuer as a verifier trusts it.
    #[must_use]
    pub fn trusted(&self) -> TrustedIssuer {
        let keys = KeySet::from_jwks(self.jwks().as_bytes()).expect("a key set that was just written");
        TrustedIssuer::fixed(&self.issuer, keys).expect("the issuer identifier is not empty")
    }

    /// Returns a verifier that trusts only this issuer, with the default leeway of 5 seconds.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        let builder = Verifier::builder().issuer(self.trusted()).clock(self.clock());
        builder.build().expect("one issuer with fixed keys")
    }

    /// Returns a token source for an application's [`AttachLayer`](crate::attach::AttachLayer). Both layers
    /// then run in one process, without an issuer to start.
    ///
    /// ```
    /// use token_interceptor::{
    ///     attach::AttachLayer, caller::Caller, layer::AuthorizationLayer, policy::Policy,
    ///     test_util::TestIssuer,
    /// };
    /// # use std::convert::Infallible;
    /// # use tonic::body::Body;
    /// # use tower::{ServiceBuilder, ServiceExt as _};
    /// # static POLICY: &[token_proto::policy::MethodPolicy] = token_proto::POLICY;
    /// # static DESCRIPTOR_SET: &[u8] = token_proto::FILE_DESCRIPTOR_SET;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let issuer = TestIssuer::new("https://issuer.example");
    /// let tokens = AttachLayer::new(issuer.source()).policy(POLICY).to(&"http://localhost".parse()?)?;
    /// let policy = Policy::new(POLICY)?.serves(DESCRIPTOR_SET, &["m2m.token.v1.TokenService"])?;
    /// let authorization = AuthorizationLayer::new(issuer.verifier(), policy);
    /// // Or: tokens.connect_lazy(&endpoint), and Server::builder().layer(authorization).
    /// let server = ServiceBuilder::new().layer(authorization).service_fn(
    ///     |request: http::Request<Body>| async move {
    ///         let caller = request.extensions().get::<Caller>().map(|caller| caller.client_id().to_owned());
    ///         assert_eq!(caller.as_deref(), Some("orders"));
    ///         Ok::<_, Infallible>(http::Response::new(Body::empty()))
    ///     },
    /// );
    /// let call = http::Request::post("/m2m.admin.v1.ClientService/GetClient").body(Body::empty())?;
    /// assert!(!tokens.layer(server).oneshot(call).await?.headers().contains_key("grpc-status"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn source(&self) -> TestSource {
        TestSource::new(self.clone())
    }

    /// Returns a valid token to change: of client `orders` for audience `inventory`, issued now, for five
    /// minutes.
    #[must_use]
    pub fn token(&self) -> TokenBuilder {
        TokenBuilder::new(&self.issuer, Arc::clone(&self.key), numeric_date(self.clock.now()))
    }
}
