//! A token from the program's configuration: for tests, and for environments whose tokens live as long as a
//! job.

use std::time::Duration;

use super::{AccessToken, IssuedToken, MalformedToken, SourceError, TokenRequest, TokenSource};

/// The assumed lifetime. The token is read again once a day, which costs nothing.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// A source that returns the same token for any requested audience and scopes.
#[derive(Clone, Debug)]
pub struct StaticToken(AccessToken);

impl StaticToken {
    /// Takes the token in compact form.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be sent in a header.
    pub fn new(token: &str) -> Result<Self, MalformedToken> {
        AccessToken::new(token).map(Self)
    }
}

#[async_trait::async_trait]
impl TokenSource for StaticToken {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        request.own()?;
        Ok(IssuedToken::new(self.0.clone(), LIFETIME))
    }
}
