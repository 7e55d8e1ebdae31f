//! The client credentials grant. RFC 6749 section 4.4.

use super::{GrantedAccess, RequestedAccess, access};
use crate::{client::GrantType, client_authentication::AuthenticatedClient, error::IssueError};

/// A client credentials request.
#[derive(Debug, Default)]
pub struct Request {
    /// The requested audiences, scopes and lifetime.
    pub access: RequestedAccess,
    /// Checked against the registered redirect URIs. The answer is never sent there.
    pub redirect_uri: Option<String>,
}

/// Decides the client's access.
///
/// # Errors
///
/// `unauthorized_client`, `invalid_target`, `invalid_scope`, and `invalid_request` for a `redirect_uri` that
/// is not registered.
pub fn authorize(client: AuthenticatedClient, request: &Request) -> Result<GrantedAccess, IssueError> {
    let (client, not_after) = client.into_parts();
    if !client.may_use(GrantType::ClientCredentials) {
        return Err(IssueError::ClientNotAuthorized("The client is not registered for client credentials."));
    }
    if let Some(uri) = &request.redirect_uri {
        // Simple string comparison: RFC 6749 section 3.1.2.3, RFC 9700 section 2.1.
        if !client.redirect_uris.contains(uri) {
            return Err(IssueError::invalid_request("redirect_uri is not registered for the client."));
        }
    }
    let access = access::authorize(&client.grants, &request.access)?;
    Ok(GrantedAccess { client, access, lifetime: request.access.lifetime, on_behalf: None, not_after })
}
