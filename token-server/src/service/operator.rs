//! Who calls the admin API, as [`Operator`].

use token_interceptor::caller::Caller;
use tonic::{Request, Status};

use crate::{admin::Operator, audit::Entry, origin::Origin};

/// What a handler of the admin API begins with: where the request comes from, who makes it, and the entry of the audit
/// stream that tells for what.
///
/// # Errors
///
/// UNAUTHENTICATED when no layer has verified a token: the services are of no use without it.
pub(super) fn of<T>(request: &Request<T>) -> Result<(Origin, Operator, Entry), Status> {
    let origin = Origin::of(request.metadata().as_ref(), request.extensions());
    let caller = Caller::of(request)?;
    // Without one nobody keeps the record, as in tests of a service alone.
    let entry = request.extensions().get::<Entry>().cloned().unwrap_or_default();
    entry.by(caller);
    let operator = Operator::caller(caller.client_id(), caller.scopes(), origin.request_id().as_str());
    Ok((origin, operator, entry))
}
