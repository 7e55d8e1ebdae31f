//! Introspection: whether a token is good, and what is in it. RFC 7662.

use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use token_interceptor::token::VerifiedToken;
use tracing::Instrument as _;

use super::{Issuer, answered, refused};
use crate::{audit::Decision, client::Client, convert::TokenQuestion, error::IssueError, origin::Origin};

/// The issuer's own audience: what is registered at it, a client may ask of the issuer itself.
const ISSUER_AUDIENCE: &str = "m2m.token.v1";
/// Whoever has this scope at [`ISSUER_AUDIENCE`] may introspect every token.
const INTROSPECT_SCOPE: &str = "tokens.introspect";

impl Issuer {
    /// What the token says, where it is good and the client may know.
    ///
    /// # Errors
    ///
    /// When the client is not authenticated, or the question malformed.
    pub(crate) async fn introspect(
        &self,
        origin: &Origin,
        read: impl Future<Output = Result<TokenQuestion, IssueError>>,
    ) -> Result<Option<VerifiedToken>, IssueError> {
        let mut decision = Decision::new(origin, "introspect_token");
        let span = decision.span().clone();
        let answer = self.inspect(origin, read, &mut decision).instrument(span).await;
        match &answer {
            Ok(Some(token)) => answered(&decision, "active", Some(token.token_id())),
            Ok(None) => answered(&decision, "inactive", None),
            Err(error) => refused(&decision, error),
        }
        answer
    }

    async fn inspect(
        &self,
        origin: &Origin,
        read: impl Future<Output = Result<TokenQuestion, IssueError>>,
        decision: &mut Decision<'_>,
    ) -> Result<Option<VerifiedToken>, IssueError> {
        let (client, token) = self.question(origin, read, decision).await?;
        let client = client.into_client();
        let token = self.own_tokens.verify(token.expose_secret())?;
        // RFC 7662 section 4: to somebody who may not know, a good token looks like any other string.
        Ok(token.filter(|token| may_introspect(&client, token)))
    }
}

/// The client that the token was issued to, a resource server that it is for, and whoever was granted it.
fn may_introspect(client: &Client, token: &VerifiedToken) -> bool {
    let id = client.id.as_str();
    token.client_id() == id
        || token.audiences().any(|audience| audience == id)
        || client.grant(ISSUER_AUDIENCE).is_some_and(|grant| grant.scopes.contains(INTROSPECT_SCOPE))
}

/// The members of the answer about an active token beside `active`. RFC 7662 section 2.2.
pub(crate) fn introspected(token: &VerifiedToken) -> Map<String, Value> {
    let mut members = token.claims().clone();
    members.insert("token_type".to_owned(), "Bearer".into());
    members
}
