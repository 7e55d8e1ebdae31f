//! `POST /oauth/token`. RFC 6749 sections 3.2, 4.4 and 5; RFC 8693 section 2.

use axum::{
    extract::{Request, State},
    response::Response,
};
use serde::Serialize;

use super::{Shared, body, error, parameters::Parameters};
use crate::{
    convert::{self, ExchangeForm, TokenForm, TokenRequest},
    error::IssueError,
    mint::IssuedToken,
    origin::Origin,
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
        client: parameters.client()?,
        audience: parameters.list("audience"),
        resource: parameters.list("resource"),
        scope: parameters.one("scope")?,
        lifetime: parameters.one("lifetime")?,
        redirect_uri: parameters.one("redirect_uri")?,
        exchange: ExchangeForm {
            subject_token: parameters.one("subject_token")?,
            subject_token_type: parameters.one("subject_token_type")?,
            actor_token: parameters.one("actor_token")?,
            actor_token_type: parameters.one("actor_token_type")?,
            requested_token_type: parameters.one("requested_token_type")?,
        },
    })
}

/// RFC 6749 section 5.1, RFC 8693 section 2.2.1. `refresh_in` is an extension, under the name that other issuers gave it.
#[derive(Serialize)]
struct TokenResponse<'a> {
    access_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_token_type: Option<&'static str>,
    token_type: &'static str,
    expires_in: u64,
    refresh_in: u64,
    scope: String,
}

fn encode(token: &IssuedToken, origin: &Origin) -> Result<Response, IssueError> {
    let scopes: Vec<&str> = token.scopes().iter().map(crate::client::Scope::as_str).collect();
    let body = TokenResponse {
        access_token: token.value(),
        issued_token_type: token.on_behalf().map(|_| convert::ACCESS_TOKEN),
        token_type: "Bearer",
        expires_in: token.expires_in().as_secs(),
        refresh_in: token.refresh_after().as_secs(),
        scope: scopes.join(" "),
    };
    body::answer(&body, origin)
}
