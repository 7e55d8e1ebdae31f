//! `POST /oauth/revoke`. RFC 7009 section 2.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use token_issuer::issuer::Operation;

use super::{Shared, body, error, introspect};

use crate::connection;

pub(super) async fn revoke(State(shared): State<Shared>, request: Request) -> Response {
    let origin = connection::origin(request.headers(), request.extensions());
    let revoked = match shared.issuer.admit(&origin, Operation::RevokeToken) {
        Ok(admitted) => admitted.revoke(introspect::question(request).await).await,
        Err(refusal) => Err(refusal),
    };
    match revoked {
        Ok(()) => {
            // RFC 7009 section 2.2: the status alone is the response.
            let mut response = Response::new(Body::empty());
            body::never_cached(response.headers_mut(), &origin);
            response
        }
        Err(refusal) => error::response(&refusal, &origin, &shared.challenge),
    }
}
