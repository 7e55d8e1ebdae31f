//! `/userinfo`. OpenID Connect Core section 5.3; errors by RFC 6750 section 3.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use token_issuer::issuer::{Operation, UserInfoError};

use super::{Shared, body, error};

use crate::connection;

pub(super) async fn user_info(State(shared): State<Shared>, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let told = match shared.issuer.admit(&origin, Operation::GetUserInfo) {
        Ok(admitted) => admitted.user_info(request.headers()).await,
        Err(refusal) => Err(UserInfoError::Other(refusal)),
    };
    let answer = told.and_then(|claims| body::answer(&claims, &origin).map_err(UserInfoError::Other));
    match answer {
        Ok(response) => response,
        Err(UserInfoError::Bearer(answer)) => {
            let mut response = answer.into_http().map(Body::new);
            body::never_cached(response.headers_mut(), &origin);
            response
        }
        Err(UserInfoError::Other(refusal)) => error::response(&refusal, &origin, &shared.challenge),
    }
}
