//! Grants: what an authenticated client may have. One file per grant, each with an `authorize`.
//!
//! RFC 6749 section 4.4 and RFC 8693. [`Authorization`] is the decision as a value: only this module makes one,
//! and [`crate::mint`] takes nothing else.

mod access;
pub mod client_credentials;

use std::{sync::Arc, time::Duration};

pub use access::{RequestedAccess, RequestedAudience};

use crate::client::{Audience, Client, Scope};

/// What a token request asks for.
#[derive(Debug)]
pub enum Request {
    /// RFC 6749 section 4.4.
    ClientCredentials(client_credentials::Request),
}

/// What may be put into a token.
#[derive(Debug)]
pub struct Authorization {
    client: Arc<Client>,
    access: Access,
    lifetime: Option<Duration>,
}

/// Audiences and scopes that were granted: at least one of each.
#[derive(Debug)]
struct Access {
    audiences: Vec<Audience>,
    scopes: Vec<Scope>,
}

impl Authorization {
    /// The client that the token is issued to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `sub`. RFC 9068 section 2.2: the client itself where no resource owner is involved.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.client.id.as_str()
    }

    /// `aud`: at least one, none twice.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.access.audiences
    }

    /// `scope`: at least one, none twice.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.access.scopes
    }

    /// The lifetime that was asked for; [`crate::mint`] decides.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// What was granted, by value: the token has been made.
    pub(crate) fn into_access(self) -> (Vec<Audience>, Vec<Scope>) {
        (self.access.audiences, self.access.scopes)
    }
}
