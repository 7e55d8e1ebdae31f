//! `POST /oauth/token`. RFC 6749 sections 3.2, 4.4 and 5.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA},
};
use serde::Serialize;

use super::{Shared, body, error, parameters::Parameters};
use crate::{
    convert::{self, ClientForm, TokenForm, TokenRequest},
    error::IssueError,
    mint::IssuedToken,
    origin::{Origin, REQUEST_ID},
};

pub(super) async fn token(State(shared): State<Shared>, request: Request) -> Response {
    let origin = Origin::of(request.headers(), request.extensions());
    match shared.issuer.issue(&origin, read(request)).await {
        Ok(token) => {
            encode(&token, &origin).unwrap_or_else(|failure| error::response(&failure, &origin, &shared.challenge))
        }
        Err(refusal) => error::response(&refusal, &origin, &shared.challenge),
    }
}

async fn read(mut request: Request) -> Result<TokenRequest, IssueError> {
    let headers = std::mem::take(request.headers_mut());
    let parameters = body::parameters(&headers, request).await?;
    convert::token_form(form(parameters)?, &headers)
}

fn form(mut parameters: Parameters) -> Result<TokenForm, IssueError> {
    Ok(TokenForm {
        grant_type: parameters.required("grant_type")?,
        client: client(&mut parameters)?,
        audience: parameters.list("audience"),
        resource: parameters.list("resource"),
        scope: parameters.one("scope")?,
        lifetime: parameters.one("lifetime")?,
        redirect_uri: parameters.one("redirect_uri")?,
    })
}

/// What every endpoint that authenticates clients takes.
pub(super) fn client(parameters: &mut Parameters) -> Result<ClientForm, IssueError> {
    Ok(ClientForm {
        client_id: parameters.one("client_id")?,
        client_secret: parameters.one("client_secret")?,
        client_assertion_type: parameters.one("client_assertion_type")?,
        client_assertion: parameters.one("client_assertion")?,
    })
}

/// RFC 6749 section 5.1. `refresh_in` is an extension, under the name that other issuers gave it.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    token_type: &'static str,
    expires_in: u64,
    refresh_in: u64,
    scope: String,
}

fn encode(token: &IssuedToken, origin: &Origin) -> Result<Response, IssueError> {
    let scopes: Vec<&str> = token.scopes().iter().map(crate::client::Scope::as_str).collect();
    let body = serde_json::to_vec(&TokenResponse {
        access_token: token.value(),
        token_type: "Bearer",
        expires_in: token.expires_in().as_secs(),
        refresh_in: token.refresh_after().as_secs(),
        scope: scopes.join(" "),
    });
    let mut response = Response::new(Body::from(body.map_err(|error| IssueError::Internal(error.into()))?));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(REQUEST_ID, origin.request_id().header_value());
    Ok(response)
}
