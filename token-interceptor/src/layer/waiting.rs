//! The slow path: a request that waits for a key that is not cached yet.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tower::{BoxError, Service};

use super::{
    body::{GuardedBody, RequestBody},
    decision::{Shared, Wait},
    schemes::call_with_scheme,
};
use crate::verify::KeyWait;

/// The number of key fetches that one call waits for.
const FETCHES_AWAITED_MAX: usize = 2;

/// Waits, and passes the request on then.
pub(super) async fn call_later<S, B, RB>(
    shared: Arc<Shared>,
    service: S,
    request: Request<B>,
    wait: Wait,
) -> Result<Response<GuardedBody<RB>>, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>>,
    B: RequestBody,
    RB: http_body::Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    match wait {
        Wait::Key(wait) => call_with_key(shared, service, request, wait).await,
        Wait::Scheme => call_with_scheme(shared, service, request).await,
    }
}

async fn call_with_key<S, B, RB>(
    shared: Arc<Shared>,
    mut service: S,
    request: Request<B>,
    mut wait: KeyWait,
) -> Result<Response<GuardedBody<RB>>, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>>,
    B: RequestBody,
    RB: http_body::Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    for _ in 0..FETCHES_AWAITED_MAX {
        if let Err(error) = shared.verifier().key_arrives(wait).await {
            let decision = shared.deny(&request, error.into());
            return shared.enter(decision, &mut service, request).await;
        }
        match shared.decide(&request) {
            Ok(decision) => return shared.enter(decision, &mut service, request).await,
            Err(Wait::Key(again)) => wait = again,
            // Only by the program's own scheme, which was not there at first.
            Err(Wait::Scheme) => return call_with_scheme(shared, service, request).await,
        }
    }
    let decision = shared.deny(&request, wait.given_up().into());
    shared.enter(decision, &mut service, request).await
}
