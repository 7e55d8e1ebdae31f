//! The verified identity and rights of a caller, for handlers.

use std::{fmt, time::SystemTime};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tonic::Status;

use crate::{
    error::Denial,
    error::Denied,
    ongoing::{Evidence, Ongoing, Terms},
    scheme,
    token::{Actor, UnverifiedToken, VerifiedToken},
};

/// The caller: a verified token, or a credential of [another scheme](crate::scheme), that met the method's
/// demand. It is in the extensions of every request to a method that demands a token, and of a request with a
/// token to a public method with `identify`. In axum it is an argument of the handler; `Option<Caller>` where
/// a caller may be anonymous. Clones are cheap.
///
/// While the layer [observes](crate::layer::AuthorizationLayer::observe), the token may not meet the demand.
#[derive(Clone)]
pub struct Caller {
    evidence: Evidence,
    terms: Terms,
}

impl Caller {
    /// Called by the layers alone.
    pub(crate) fn new(evidence: Evidence, terms: Terms) -> Self {
        Self { evidence, terms }
    }

    /// Waits until the call has to end: the token expired, was revoked, or became too old for the method. A
    /// dropped future checks nothing.
    ///
    /// The layer ends streams by itself. This is for work that it cannot see: a connection that the handler
    /// upgraded, such as a WebSocket, and work that goes on after the answer.
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

    /// Returns the call, to be watched.
    pub(crate) fn ongoing(&self) -> Ongoing {
        Ongoing::new(self.evidence.clone(), self.terms.clone())
    }

    /// Returns the caller of a request.
    ///
    /// # Errors
    ///
    /// UNAUTHENTICATED, when the request passed no layer, or the method is open.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<&Self, Status> {
        request.extensions().get::<Self>().ok_or_else(|| Denied::from(Denial::CredentialsMissing).into())
    }

    /// Returns the scheme of the caller's credential: `bearer` for a token, or the
    /// [name](crate::scheme::Authenticate::name) of another scheme, such as `api_key`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        match &self.evidence {
            Evidence::Token(_) => scheme::BEARER,
            Evidence::Scheme(identified) => identified.scheme,
        }
    }

    /// Returns the verified token; for another scheme, the rights of the credential.
    #[must_use]
    pub fn token(&self) -> &VerifiedToken {
        self.evidence.verified()
    }

    /// Returns `client_id`: the client that the token was issued to.
    #[must_use]
    pub fn client_id(&self) -> &str {
        self.token().client_id()
    }

    /// Returns `sub`: the user whom the client acts for, or the client itself.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.token().subject()
    }

    /// Returns `iss`: the issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.token().issuer()
    }

    /// Returns `scope`: the scopes that were granted.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        self.token().scopes()
    }

    /// Returns true if `scope` was granted.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.token().has_scope(scope)
    }

    /// Returns `exp`.
    #[must_use]
    pub fn expires_at(&self) -> SystemTime {
        self.token().expires_at()
    }

    /// Returns `act`: the parties that act for the subject, the current actor first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        self.token().actors()
    }

    /// Returns every claim of the token.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        self.token().claims()
    }

    /// Returns the claims as a type of the handler's own.
    ///
    /// # Errors
    ///
    /// Returns an error if the claims do not fit the type.
    pub fn claims_as<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        self.token().claims_as()
    }

    /// Returns the token as its issuer signed it, decrypted where it came encrypted. Use it only to exchange
    /// it for a token of the next service (RFC 8693). Never forward it: it was issued for this service.
    /// `None` for a credential of another scheme, which no issuer exchanges.
    #[must_use]
    pub fn bearer(&self) -> Option<UnverifiedToken<'_>> {
        match &self.evidence {
            Evidence::Token(seen) => Some(UnverifiedToken::new(seen.signed())),
            Evidence::Scheme(_) => None,
        }
    }

    /// Returns the token as it came.
    pub(crate) fn presented(&self) -> Option<UnverifiedToken<'_>> {
        match &self.evidence {
            Evidence::Token(seen) => Some(UnverifiedToken::new(seen.presented())),
            Evidence::Scheme(_) => None,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(self.token()).finish()
    }
}
