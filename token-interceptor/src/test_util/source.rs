//! The in-process issuer as a token source for an application's client layer.

use std::time::Duration;

use async_trait::async_trait;

use super::TestIssuer;
use crate::source::{AccessToken, IssuedToken, SourceError, TokenRequest, TokenSource};

/// The lifetime of the tokens of [`TestIssuer::token`].
const LIFETIME: Duration = Duration::from_secs(300);

/// A source of a [`TestIssuer`]'s tokens, for any requested audience and scopes: [`TestIssuer::source`].
#[derive(Clone, Debug)]
pub struct TestSource {
    issuer: TestIssuer,
    client_id: String,
}

impl TestSource {
    pub(super) fn new(issuer: TestIssuer) -> Self {
        Self { issuer, client_id: "orders".to_owned() }
    }

    /// Issues to this client instead of `orders`.
    #[must_use]
    pub fn client(mut self, client_id: &str) -> Self {
        client_id.clone_into(&mut self.client_id);
        self
    }
}

#[async_trait]
impl TokenSource for TestSource {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        request.own()?;
        let mut token = self.issuer.token().client(&self.client_id).expires_in(LIFETIME);
        if let Some(audience) = request.audience() {
            token = token.audience(audience);
        }
        if request.scopes().len() > 0 {
            token = token.scope(&request.scope_parameter());
        }
        let token = AccessToken::new(&token.sign()).expect("a compact JWS is a token of RFC 6750");
        Ok(IssuedToken::new(token, LIFETIME))
    }
}
