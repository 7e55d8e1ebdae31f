//! Token exchange: a token for the caller whom the program serves, in exchange for the caller's own. RFC
//! 8693.

use std::sync::Arc;

use super::{
    IssuedToken, IssuerRefusal, SourceError, TokenRequest, TokenSource,
    credential::ClientCredential,
    issuer::{IssuerBuilder, IssuerTransport, SourceConfigError},
};

/// A source of tokens by exchange: the caller stays the subject, this client becomes the actor, and rights
/// only narrow.
///
/// Used with [`AttachLayer::on_behalf_of_caller`](crate::attach::AttachLayer::on_behalf_of_caller).
#[derive(Debug)]
pub struct TokenExchange {
    client_id: Arc<str>,
    credential: ClientCredential,
    issuer: IssuerTransport,
}

impl TokenExchange {
    /// Creates a source that exchanges tokens as this client at this issuer, without connecting.
    ///
    /// # Errors
    ///
    /// Returns an error if the issuer cannot be reached safely, or its URL is invalid.
    pub fn new(
        client_id: impl Into<Arc<str>>,
        credential: impl Into<ClientCredential>,
        issuer: IssuerBuilder,
    ) -> Result<Self, SourceConfigError> {
        Ok(Self { client_id: client_id.into(), credential: credential.into(), issuer: issuer.build()? })
    }
}

#[async_trait::async_trait]
impl TokenSource for TokenExchange {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        let subject = request.subject();
        let subject =
            subject.ok_or_else(|| SourceError::refused(IssuerRefusal::Request, "there is no token to exchange"))?;
        match &self.issuer {
            IssuerTransport::Grpc(issuer) => {
                issuer.exchange(self.credential.for_grpc(&self.client_id)?, request, subject).await
            }
            #[cfg(feature = "http")]
            IssuerTransport::Http(issuer) => issuer.exchange(&self.client_id, &self.credential, request, subject).await,
        }
    }
}
