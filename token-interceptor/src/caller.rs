//! What a handler reads: who calls, and what they may.

use std::{fmt, sync::Arc, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tonic::Status;

use crate::{
    cache::Seen,
    error::Denial,
    error::Denied,
    ongoing::{Ongoing, Terms},
    token::{Actor, UnverifiedToken, VerifiedToken},
};

/// Who calls: a verified token that met what the method demands. In the extensions of every request to a
/// method that demands one. Clones are cheap.
#[derive(Clone)]
pub struct Caller {
    seen: Arc<Seen>,
    terms: Terms,
}

impl Caller {
    /// For the layers alone.
    pub(crate) fn new(seen: Arc<Seen>, terms: Terms) -> Self {
        Self { seen, terms }
    }

    /// Waits until the call may go on no longer: the token has expired or was revoked, or it became too old for the
    /// method. Dropped, it asks nothing.
    ///
    /// The layer ends streams by itself. This is for what it cannot see: a connection that the handler upgraded, such as
    /// a WebSocket, and work that goes on after the answer.
    ///
    /// ```no_run
    /// # async fn work() {}
    /// # async fn handle(caller: token_interceptor::caller::Caller) -> Result<(), tonic::Status> {
    /// tokio::select! {
    ///     () = work() => Ok(()),
    ///     denied = caller.ended() => Err(denied.into()),
    /// }
    /// # }
    /// ```
    pub fn ended(&self) -> impl Future<Output = Denied> + Send + 'static {
        let ongoing = self.ongoing();
        async move { ongoing.ended().await }
    }

    /// The call, to be watched.
    pub(crate) fn ongoing(&self) -> Ongoing {
        Ongoing::new(Arc::clone(&self.seen), self.terms.clone())
    }

    /// The caller of a request.
    ///
    /// # Errors
    ///
    /// When the request came through no layer, or to a method that is open to anybody: UNAUTHENTICATED.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Status> {
        request.extensions().get::<Self>().ok_or_else(|| Denied::from(Denial::CredentialsMissing).into())
    }

    /// The verified token.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        &self.seen.verified
    }

    /// `client_id`: the client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.token().client_id()
    }

    /// `sub`: for whom the client calls; the client itself where it calls for nobody else.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.token().subject()
    }

    /// `iss`: who says so.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.token().issuer()
    }

    /// `scope`: what was granted.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.token().scopes()
    }

    /// Whether `scope` was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.token().has_scope(scope)
    }

    /// `exp`.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.token().expires_at()
    }

    /// `act`: who acts for the subject, the current actor first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        self.token().actors()
    }

    /// Every claim of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        self.token().claims()
    }

    /// The claims as a type of the handler's own.
    ///
    /// # Errors
    ///
    /// When the claims do not fit the type.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.token().claims_as()
    }

    /// The token as its issuer signed it, opened where it came encrypted: to exchange it for one of the next
    /// service's (RFC 8693), and for nothing else. Never forward it as it is: it was issued for this service.
    #[must_use]
    pub fn bearer(&self) -> UnverifiedToken<'_> {
        UnverifiedToken::new(self.seen.signed())
    }

    /// The token as it came.
    pub(crate) fn presented(&self) -> UnverifiedToken<'_> {
        UnverifiedToken::new(self.seen.presented())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(self.token()).finish()
    }
}
