//! Grants: decide which access an authenticated client receives. One file per grant, each with an
//! `authorize`.
//!
//! RFC 6749 section 4.4 and RFC 8693. [`GrantedAccess`] holds the decision. Only this module creates one, and
//! [`crate::mint`] accepts nothing else.

mod access;
pub mod client_credentials;
pub mod token_exchange;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use access::{RequestedAccess, RequestedAudience};
pub use token_exchange::OnBehalf;

use crate::client::{Audience, Client, Scope};

/// A token request, by grant type.
///
/// Exhaustive: a new grant must be decided before it compiles.
#[derive(Debug)]
pub enum Request {
    /// RFC 6749 section 4.4.
    ClientCredentials(client_credentials::Request),
    /// RFC 8693.
    TokenExchange(token_exchange::Request),
}

impl Request {
    /// The name of the operation in the audit log.
    #[must_use]
    pub(crate) const fn operation(&self) -> &'static str {
        match self {
            Self::ClientCredentials(_) => "issue_token",
            Self::TokenExchange(_) => "exchange_token",
        }
    }
}

/// The content that a token may have.
#[derive(Debug)]
pub struct GrantedAccess {
    client: Arc<Client>,
    access: Access,
    lifetime: Option<Duration>,
    on_behalf: Option<Box<OnBehalf>>,
    /// The expiry of the proof by which the client authenticated, if it bounds the token.
    not_after: Option<SystemTime>,
}

/// The granted audiences and scopes: at least one of each.
#[derive(Debug)]
struct Access {
    audiences: Vec<Audience>,
    scopes: Vec<Scope>,
}

impl GrantedAccess {
    /// The client that the token is issued to.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// `sub`. RFC 9068 section 2.2: the client itself where no resource owner is involved.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.on_behalf.as_ref().map_or(self.client.id.as_str(), |on_behalf| on_behalf.subject())
    }

    /// The party that the token represents, if it is not the client.
    #[must_use]
    pub fn on_behalf(&self) -> Option<&OnBehalf> {
        self.on_behalf.as_deref()
    }

    /// `aud`: at least one, without duplicates.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.access.audiences
    }

    /// `scope`: at least one, without duplicates.
    #[must_use]
    pub fn scopes(&self) -> &[Scope] {
        &self.access.scopes
    }

    /// The requested lifetime. [`crate::mint`] decides the actual one.
    #[must_use]
    pub fn lifetime(&self) -> Option<Duration> {
        self.lifetime
    }

    /// The time that the token may not outlive: the earliest expiry of the tokens that it derives from, and
    /// of the client's proof.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        let derived = self.on_behalf.as_ref().map(|on_behalf| on_behalf.not_after());
        derived.into_iter().chain(self.not_after).min()
    }

    /// Returns the granted values by move, after the token was minted.
    pub(crate) fn into_parts(self) -> (Vec<Audience>, Vec<Scope>, Option<Box<OnBehalf>>) {
        (self.access.audiences, self.access.scopes, self.on_behalf)
    }
}
