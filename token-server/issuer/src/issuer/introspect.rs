//! Introspection: the validity and the claims of a token. RFC 7662.

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use token_interceptor::token::VerifiedToken;
use tracing::Instrument as _;

use super::{Admitted, answered};
use crate::{client::Client, error::IssueError, request::TokenQuery};

/// The issuer's own audience. Scopes at it give rights at the issuer itself.
const ISSUER_AUDIENCE: &str = "m2m.token.v1";
/// The scope at [`ISSUER_AUDIENCE`] that allows a client to introspect every token.
const INTROSPECT_SCOPE: &str = "tokens.introspect";

impl Admitted<'_> {
    /// Returns the claims of the token, if it is valid and the client may know them.
    ///
    /// # Errors
    ///
    /// When the client is not authenticated, or the request is malformed.
    pub async fn introspect(
        mut self,
        question: Result<TokenQuery, IssueError>,
    ) -> Result<Option<VerifiedToken>, IssueError> {
        let span = self.decision.span().clone();
        let answer = self.inspect(question).instrument(span).await;
        match &answer {
            Ok(Some(token)) => answered(self.close(), "active", Some(token.token_id())),
            Ok(None) => answered(self.close(), "inactive", None),
            Err(error) => self.refuse(error),
        }
        answer
    }

    async fn inspect(&mut self, question: Result<TokenQuery, IssueError>) -> Result<Option<VerifiedToken>, IssueError> {
        let (client, token) = self.authenticate_query(question).await?;
        let (client, _) = client.into_parts();
        let token = self.issuer.own_tokens.verify(token.expose_secret())?;
        // RFC 7662 section 4: to a client that may not know, a valid token looks like any other string.
        if let Some(token) = token.as_ref().filter(|token| !may_introspect(&client, token)) {
            self.decision.withheld(token.token_id(), "the client may not introspect this token");
            return Ok(None);
        }
        Ok(token)
    }
}

/// Returns true for the client that the token was issued to, a resource server in its audience, and a client
/// with the scope.
fn may_introspect(client: &Client, token: &VerifiedToken) -> bool {
    let id = client.id.as_str();
    token.client_id() == id
        || token.audiences().any(|audience| audience == id)
        || client.grant(ISSUER_AUDIENCE).is_some_and(|grant| grant.scopes.contains(INTROSPECT_SCOPE))
}

/// Returns the members of the response about an active token, without `active`. RFC 7662 section 2.2.
pub fn introspected(token: &VerifiedToken) -> Map<String, Value> {
    let mut members = token.claims().clone();
    members.insert("token_type".to_owned(), "Bearer".into());
    members
}
