//! `POST /oauth/introspect`. RFC 7662 section 2.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde_json::{Map, Value};
use token_interceptor::token::VerifiedToken;
use token_issuer::{
    error::IssueError,
    issuer::{Operation, introspected},
    request::TokenQuery,
};

use super::{Shared, body, error};
use crate::connection;
use crate::convert;

pub(super) async fn introspect(State(shared): State<Shared>, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let found = match shared.issuer.admit(&origin, Operation::IntrospectToken) {
        Ok(admitted) => admitted.introspect(question(request).await).await,
        Err(refusal) => Err(refusal),
    };
    let answer = found.and_then(|token| body::answer(&encode(token.as_ref()), &origin));
    answer.unwrap_or_else(|refusal| error::response(&refusal, &origin, &shared.challenge))
}

/// Reads an introspection or revocation request.
pub(super) async fn question(mut request: Request) -> Result<TokenQuery, IssueError> {
    let headers = std::mem::take(request.headers_mut());
    let parameters = body::parameters(&headers, request).await?;
    convert::token_query_form(parameters.token_query()?, &headers)
}

/// Encodes the response. RFC 7662 section 2.2: an inactive token discloses nothing else.
fn encode(token: Option<&VerifiedToken>) -> Map<String, Value> {
    let mut members = token.map(introspected).unwrap_or_default();
    members.insert("active".to_owned(), token.is_some().into());
    members
}
