//! Requests of clients as the protocols decode them.

use secrecy::SecretString;

use crate::{client_authentication::presented::PresentedClient, grant};

/// A request for a token: the client's credentials and the token it asks for.
#[derive(Debug)]
pub struct GrantRequest {
    /// The presented credentials.
    pub client: PresentedClient,
    /// The requested grant.
    pub grant: grant::Request,
}

/// A client's request to introspect or revoke a token.
#[derive(Debug)]
pub struct TokenQuery {
    /// The presented credentials.
    pub client: PresentedClient,
    /// The token.
    pub token: SecretString,
}
