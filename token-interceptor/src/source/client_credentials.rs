//! The client credentials grant: the client's own token, by its own credentials. RFC 6749 section 4.4.

use std::{sync::Arc, time::Duration};

use super::{
    IssuedToken, SourceError, TokenRequest, TokenSource,
    credential::ClientCredential,
    issuer::{IssuerBuilder, IssuerTransport, SourceConfigError},
};

/// A source of tokens by the client credentials grant.
///
/// ```no_run
/// use token_interceptor::source::{ClientCredentials, IssuerBuilder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // From an issuer of this project, over gRPC:
/// let issuer = IssuerBuilder::grpc("https://issuer.example");
/// let source = ClientCredentials::new("orders", "tks_…", issuer)?;
/// // From any OAuth server, found by its issuer identifier:
/// let issuer = IssuerBuilder::discover("https://login.example/tenant");
/// let source = ClientCredentials::new("orders", "secret", issuer)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct ClientCredentials {
    client_id: Arc<str>,
    credential: ClientCredential,
    issuer: IssuerTransport,
    lifetime: Option<Duration>,
}

impl ClientCredentials {
    /// Creates a source for this client at this issuer, without connecting.
    ///
    /// # Errors
    ///
    /// Returns an error if the issuer cannot be reached safely, or its URL is invalid.
    pub fn new(
        client_id: impl Into<Arc<str>>,
        credential: impl Into<ClientCredential>,
        issuer: IssuerBuilder,
    ) -> Result<Self, SourceConfigError> {
        Ok(Self { client_id: client_id.into(), credential: credential.into(), issuer: issuer.build()?, lifetime: None })
    }

    /// Requests tokens of this lifetime. An issuer of this project caps it; other issuers ignore it.
    #[must_use]
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }
}

#[async_trait::async_trait]
impl TokenSource for ClientCredentials {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        request.own()?;
        match &self.issuer {
            IssuerTransport::Grpc(issuer) => {
                issuer.issue(self.credential.for_grpc(&self.client_id)?, request, self.lifetime).await
            }
            #[cfg(feature = "http")]
            IssuerTransport::Http(issuer) => issuer.issue(&self.client_id, &self.credential, request).await,
        }
    }
}
