//! `POST /oauth/token`. RFC 6749 sections 3.2, 4.4 and 5; RFC 8693 section 2.

use std::fmt::Write as _;

use axum::{
    extract::{Request, State},
    response::Response,
};
use token_issuer::{error::IssueError, issuer::Operation, mint::MintedToken, origin::Origin, request::GrantRequest};

use super::{Shared, body, error, parameters::Parameters};
use crate::convert::{self, ExchangeForm, TokenForm};

use crate::connection;

pub(super) async fn token(State(shared): State<Shared>, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let issued = match shared.issuer.admit(&origin, Operation::IssueToken) {
        // Boxed, so that the request does not enlarge this future to its end.
        Ok(admitted) => admitted.issue(Box::pin(read(request)).await).await,
        Err(refusal) => Err(refusal),
    };
    match issued {
        Ok(token) => encode(&token, &origin),
        Err(refusal) => error::response(&refusal, &origin, &shared.challenge),
    }
}

async fn read(mut request: Request) -> Result<GrantRequest, IssueError> {
    let headers = std::mem::take(request.headers_mut());
    let parameters = body::parameters(&headers, request).await?;
    convert::token_form(form(parameters)?, &headers)
}

fn form(mut parameters: Parameters) -> Result<TokenForm, IssueError> {
    Ok(TokenForm {
        grant_type: parameters.required("grant_type")?,
        client: parameters.client(),
        audience: parameters.list("audience"),
        resource: parameters.list("resource"),
        scope: parameters.one("scope"),
        lifetime: parameters.one("lifetime"),
        redirect_uri: parameters.one("redirect_uri"),
        exchange: ExchangeForm {
            subject_token: parameters.one("subject_token"),
            subject_token_type: parameters.one("subject_token_type"),
            actor_token: parameters.one("actor_token"),
            actor_token_type: parameters.one("actor_token_type"),
            requested_token_type: parameters.one("requested_token_type"),
        },
    })
}

/// Encodes the response. RFC 6749 section 5.1, RFC 8693 section 2.2.1. `refresh_in` is an extension that
/// other issuers also use.
///
/// No value needs escaping: the characters of tokens and scopes (section 3.3) stand in JSON unescaped. The
/// JSON is therefore concatenated here; a serializer would inspect each character of the token.
fn encode(token: &MintedToken, origin: &Origin) -> Response {
    let mut json = String::with_capacity(token.value().len() + 256);
    json.push_str(r#"{"access_token":""#);
    json.push_str(token.value());
    if token.on_behalf().is_some() {
        json.push_str(r#"","issued_token_type":""#);
        json.push_str(convert::ACCESS_TOKEN);
    }
    let (expires_in, refresh_in) = (token.expires_in().as_secs(), token.refresh_after().as_secs());
    // Writing to a String cannot fail.
    let _ = write!(json, r#"","token_type":"Bearer","expires_in":{expires_in},"refresh_in":{refresh_in},"scope":""#);
    for (n, scope) in token.scopes().iter().enumerate() {
        if n > 0 {
            json.push(' ');
        }
        json.push_str(scope.as_str());
    }
    json.push_str(r#""}"#);
    body::json(json.into(), origin)
}
