//! The caller of the admin API, as [`Operator`].

use std::collections::BTreeSet;

use token_interceptor::caller::Caller;
use token_issuer::{admin::Operator, audit::Entry, origin::Origin};
use tonic::{Request, Status};

use crate::connection;

/// The scopes that a caller has by its token and by its current registration. A layer in front of the
/// services puts them into the request.
#[derive(Clone, Debug)]
pub(crate) struct CurrentScopes(pub(crate) BTreeSet<String>);

/// Returns the origin of an admin request, its operator, and its audit entry. It is the first step of each
/// handler.
///
/// # Errors
///
/// UNAUTHENTICATED when no layer has verified a token. INTERNAL when no layer has looked up its client.
pub(super) fn of<T>(request: &Request<T>) -> Result<(Origin, Operator, Entry), Status> {
    let origin = connection::origin(request.metadata().as_ref(), request.extensions());
    let caller = Caller::of(request)?;
    let Some(CurrentScopes(scopes)) = request.extensions().get() else {
        return Err(super::status::of_issue_error(&no_scopes(), &origin, &http::HeaderValue::from_static("")));
    };
    // Without an entry nothing is audited, as in tests of a service alone.
    let entry = request.extensions().get::<Entry>().cloned().unwrap_or_default();
    entry.by(caller);
    let scopes = scopes.iter().map(String::as_str);
    let operator = Operator::caller(caller.client_id(), scopes, origin.request_id().as_str());
    let act = caller.claims().get("act").map(ToString::to_string);
    let operator = match act.is_some() || caller.subject() != caller.client_id() {
        true => operator.on_behalf_of(caller.subject(), act),
        false => operator,
    };
    Ok((origin, operator, entry))
}

fn no_scopes() -> token_issuer::error::IssueError {
    token_issuer::error::IssueError::Internal("no layer has looked up the caller of the admin API".into())
}
