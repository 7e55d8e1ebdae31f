//! Who calls the admin API, as [`Operator`].

use token_interceptor::caller::Caller;
use tonic::{Request, Status};

use crate::{admin::Operator, origin::Origin};

/// What a handler of the admin API begins with: where the request comes from, and who makes it.
///
/// # Errors
///
/// UNAUTHENTICATED when no layer has verified a token: the services are of no use without it.
pub(super) fn of<T>(request: &Request<T>) -> Result<(Origin, Operator), Status> {
    let origin = Origin::of(request.metadata().as_ref(), request.extensions());
    let caller = Caller::of(request)?;
    let operator = Operator::caller(caller.client_id(), caller.scopes(), origin.request_id().as_str());
    Ok((origin, operator))
}
