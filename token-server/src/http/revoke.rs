//! `POST /oauth/revoke`. RFC 7009 section 2.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};

use super::{Shared, body, error, introspect};
use crate::origin::Origin;

pub(super) async fn revoke(State(shared): State<Shared>, request: Request) -> Response {
    let origin = Origin::of(request.headers(), request.extensions());
    match shared.issuer.revoke(&origin, introspect::question(request)).await {
        Ok(()) => {
            // RFC 7009 section 2.2: the status says all.
            let mut response = Response::new(Body::empty());
            body::never_cached(response.headers_mut(), &origin);
            response
        }
        Err(refusal) => error::response(&refusal, &origin, &shared.challenge),
    }
}
