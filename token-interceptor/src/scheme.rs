//! A second scheme beside `Bearer`: another credential of a request becomes an identity, in front of the
//! policy.
//!
//! A scheme only says which client a credential belongs to. The layer then checks audience, times, scopes,
//! callers and claims as it does for a token, with the same reasons, metrics and log lines.
//! [`AuthorizationLayer::scheme`](crate::layer::AuthorizationLayer::scheme) installs one.

mod identity;
mod place;

use std::{fmt, time::SystemTime};

use async_trait::async_trait;

pub use identity::Identity;
pub(crate) use identity::{Identified, judge};
pub use place::CredentialPlace;
pub(crate) use place::Presented;

use crate::{error::Denied, token::UnverifiedToken};

/// The name of the scheme that every layer has: [`Caller::scheme`](crate::caller::Caller::scheme).
pub(crate) const BEARER: &str = "bearer";

/// A scheme beside `Bearer`: it turns a credential into an [`Identity`].
///
/// [`ApiKeys`](crate::api_keys::ApiKeys) is one. Write another for sessions, or for the credentials of a
/// gateway:
///
/// ```
/// use async_trait::async_trait;
/// use http::HeaderName;
/// use token_interceptor::{
///     error::Denied,
///     scheme::{Asked, Authenticate, CredentialPlace, Identity},
///     token::UnverifiedToken,
/// };
///
/// #[derive(Debug)]
/// struct Sessions;
///
/// #[async_trait]
/// impl Authenticate for Sessions {
///     fn name(&self) -> &'static str {
///         "session"
///     }
///
///     fn place(&self) -> CredentialPlace {
///         CredentialPlace::Header(HeaderName::from_static("x-session"))
///     }
///
///     async fn authenticate(
///         &self,
///         session: UnverifiedToken<'_>,
///         _: &Asked<'_>,
///     ) -> Result<Identity, Denied> {
///         let client_id = client_of(session.expose()).await;
///         let client_id = client_id.ok_or(Denied::credential("session", "the session is unknown"))?;
///         Ok(Identity::new(client_id, ["inventory"]).scopes(["inventory.read"]))
///     }
/// }
/// # async fn client_of(_: &str) -> Option<String> { None }
/// ```
#[async_trait]
pub trait Authenticate: fmt::Debug + Send + Sync + 'static {
    /// Returns the name of the scheme, in lower case. It is for
    /// [`Caller::scheme`](crate::caller::Caller::scheme) and the log, and the issuer of an identity that
    /// names none.
    fn name(&self) -> &'static str;

    /// Returns the place of the credential. Read once, when the scheme is installed.
    fn place(&self) -> CredentialPlace;

    /// Returns the identity that the credential proves. It may wait for a backend, for five seconds at the
    /// most: then the call is rejected.
    ///
    /// # Errors
    ///
    /// Returns [`Denied::credential`] or [`Denied::credential_expired`] for a credential that is not valid,
    /// and [`Denied::unavailable`] if that cannot be decided at the moment. Each rejects the call.
    async fn authenticate(&self, credential: UnverifiedToken<'_>, asked: &Asked<'_>) -> Result<Identity, Denied>;
}

/// The question to a scheme.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Asked<'a> {
    /// The audience of the called method. The layer compares it with that of the identity.
    pub audience: &'a str,
    /// The time of the call, by the verifier's clock.
    pub now: SystemTime,
}

impl<'a> Asked<'a> {
    /// Asks about a call at `now` of a method whose audience is `audience`.
    #[must_use]
    pub const fn new(audience: &'a str, now: SystemTime) -> Self {
        Self { audience, now }
    }
}
