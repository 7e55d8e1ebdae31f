//! The callers' side: the library's token source gets tokens from one replica, and another replica's keys
//! verify them.

use std::fmt;

use token_interceptor::{
    source::{ClientCredentials, IssuerBuilder, TokenRequest, TokenSource as _},
    token::UnverifiedToken,
    verify::{TrustedIssuer, Verifier},
};
use tonic::transport::Endpoint;

use crate::cluster::Identity;

/// The callers' token sources and verifiers, one for each replica.
pub(crate) struct Side {
    client_id: String,
    sources: Vec<ClientCredentials>,
    verifiers: Vec<Verifier>,
}

/// The failure of a call.
pub(crate) enum Failure {
    /// No token was issued, or the token could not be verified now.
    Failed(String),
    /// The token was rejected, or belongs to another client.
    Wrong(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Wrong(why) => write!(f, "WRONG: {why}"),
        }
    }
}

impl Side {
    pub(crate) fn new(issuer: &str, endpoints: &[Endpoint], client: &Identity) -> Self {
        let source = |endpoint: &Endpoint| {
            let issuer = IssuerBuilder::grpc(endpoint.clone());
            ClientCredentials::new(client.id.as_str(), client.secret.as_str(), issuer).unwrap()
        };
        let verifier = |endpoint: &Endpoint| {
            let trusted = TrustedIssuer::watch(issuer, endpoint.clone()).unwrap();
            Verifier::builder().issuer(trusted).build().unwrap()
        };
        Self {
            client_id: client.id.clone(),
            sources: endpoints.iter().map(source).collect(),
            verifiers: endpoints.iter().map(verifier).collect(),
        }
    }

    /// Makes one call: gets a token at `replica` and verifies it with the next replica's keys.
    pub(crate) async fn call(&self, replica: usize) -> Result<(), Failure> {
        let issued = self.sources[replica].fetch(&TokenRequest::for_audience("inventory")).await;
        let issued = issued.map_err(|error| Failure::Failed(format!("{error:?}")))?;
        self.verify((replica + 1) % self.verifiers.len(), issued.token.expose()).await
    }

    /// Verifies a token with the verifier that watches this replica.
    pub(crate) async fn verify(&self, replica: usize, token: &str) -> Result<(), Failure> {
        let verifier = &self.verifiers[replica];
        match verifier.verify_with_fetch(UnverifiedToken::new(token), "inventory", verifier.now()).await {
            Ok(token) if token.client_id() == self.client_id => Ok(()),
            Ok(token) => Err(Failure::Wrong(format!("a token of {:?}", token.client_id()))),
            Err(error) if error.is_transient() => Err(Failure::Failed(format!("{error:?}"))),
            Err(error) => Err(Failure::Wrong(format!("{error:?}"))),
        }
    }
}
