//! The issuer within the process, as where an application's client layer takes its tokens from.

use std::time::Duration;

use async_trait::async_trait;

use super::TestIssuer;
use crate::source::{AccessToken, IssuedToken, SourceError, TokenRequest, TokenSource};

/// As long as the tokens of [`TestIssuer::token`] are good for.
const LIFETIME: Duration = Duration::from_secs(300);

/// Tokens of a [`TestIssuer`], for whatever audience and scopes are asked for: [`TestIssuer::source`].
#[derive(Clone, Debug)]
pub struct TestSource {
    issuer: TestIssuer,
    client_id: String,
}

impl TestSource {
    pub(super) fn new(issuer: TestIssuer) -> Self {
        Self { issuer, client_id: "orders".to_owned() }
    }

    /// Issues to this client in place of `orders`.
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
