//! The sources of access tokens.
//!
//! A [`TokenSource`] makes one request per call and caches nothing. [`crate::refresh`] renews tokens, shares
//! one request between many calls and backs off, for every source alike.
//!
//! | source | a token from |
//! |---|---|
//! | [`ClientCredentials`] | an OAuth server, by the client's own credentials, over gRPC or HTTP |
//! | [`TokenExchange`] | the same, on behalf of the caller whom the program serves (RFC 8693) |
//! | [`TokenFile`] | a file that another program renews |
//! | [`StaticToken`] | the program's configuration |

mod access_token;
mod assertion;
mod cause;
mod client_credentials;
mod credential;
mod error;
mod exchange;
mod file;
mod grpc;
#[cfg(feature = "http")]
pub(crate) mod http;
mod issuer;
mod static_token;

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

#[cfg(feature = "http")]
pub use self::http::{AudienceParameter, SecretIn};
pub use access_token::{AccessToken, MalformedToken};
pub use assertion::PrivateKeyJwt;
pub use cause::Cause;
pub use client_credentials::ClientCredentials;
pub use credential::ClientCredential;
pub use error::{IssuerRefusal, SourceError};
pub use exchange::TokenExchange;
pub use file::TokenFile;
pub use issuer::{GrpcAddress, IssuerBuilder, SourceConfigError};
pub use static_token::StaticToken;

/// The assumed lifetime of a token whose issuer states none: short enough to be nearly always right, long
/// enough not to ask all the time.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(60);

/// Obtains access tokens.
///
/// A program rarely implements this. [`ClientCredentials`] asks an OAuth server with the client's own
/// credentials, [`TokenExchange`] on behalf of a caller, and [`TokenFile`] reads what another program renews.
///
/// ```no_run
/// use token_interceptor::source::{ClientCredentials, IssuerBuilder};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let issuer = IssuerBuilder::grpc("https://issuer.example");
/// let source = ClientCredentials::new("orders", "tks_…", issuer)?;
/// # Ok(()) }
/// ```
///
/// A source of the program's own makes one request and caches nothing. Renewal, retries and the sharing of
/// one request between many calls are the layer's work:
///
/// ```
/// use std::time::Duration;
/// use token_interceptor::source::{AccessToken, IssuedToken, SourceError, TokenRequest, TokenSource};
///
/// /// Asks an agent on this machine.
/// struct Agent;
///
/// # async fn ask_the_agent(_: Option<&str>) -> std::io::Result<String> { Ok("a.b.c".to_owned()) }
/// #[async_trait::async_trait]
/// impl TokenSource for Agent {
///     async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
///         let token = ask_the_agent(request.audience()).await.map_err(SourceError::unavailable)?;
///         let token = AccessToken::new(&token).map_err(SourceError::unavailable)?;
///         Ok(IssuedToken::new(token, Duration::from_secs(300)))
///     }
/// }
/// # let layer = token_interceptor::attach::AttachLayer::new(Agent);
/// ```
///
/// Return [`SourceError::unavailable`] for a failure that may pass. The layer then retries with increasing
/// pauses, and calls go on with the token that is still valid.
#[async_trait::async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Obtains one token.
    ///
    /// One call makes at most a few requests to the issuer and need not retry. It is dropped when its answer
    /// is no longer needed.
    ///
    /// # Errors
    ///
    /// A [`SourceError`] that says if a retry may help.
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError>;
}

#[async_trait::async_trait]
impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        (**self).fetch(request).await
    }
}

/// A request for a token. Equal requests share one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    audience: Option<Arc<str>>,
    scopes: BTreeSet<Arc<str>>,
    max_age: Option<Duration>,
    subject: Option<SubjectToken>,
}

impl TokenRequest {
    /// Requests a token for one resource server (RFC 8707), with the issuer's default scopes.
    #[must_use]
    pub fn for_audience(audience: impl Into<Arc<str>>) -> Self {
        Self { audience: Some(audience.into()), ..Self::default() }
    }

    /// Requests a token for the issuer's default audience.
    #[must_use]
    pub fn without_audience() -> Self {
        Self::default()
    }

    /// Requests these scopes too (RFC 6749 section 3.3).
    #[must_use]
    pub fn with_scopes<S: Into<Arc<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// Replaces the token before it is older than this, even if it is valid for longer.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// Requests a token for the subject of `subject`, in exchange for it (RFC 8693).
    #[must_use]
    pub fn on_behalf_of(mut self, subject: SubjectToken) -> Self {
        self.subject = Some(subject);
        self
    }

    /// Returns the union of both requests, for the audience of this one.
    pub(crate) fn union(mut self, other: &Self) -> Self {
        self.scopes.extend(other.scopes.iter().cloned());
        self.max_age = [self.max_age, other.max_age].into_iter().flatten().min();
        self
    }

    /// Returns the maximum age of the token.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Returns the token of the caller on whose behalf the request is; `None` for the client's own.
    #[must_use]
    pub fn subject(&self) -> Option<&SubjectToken> {
        self.subject.as_ref()
    }

    /// Rejects requests on behalf of a caller, for sources that cannot exchange tokens. Their own token would
    /// give a caller this program's rights.
    ///
    /// # Errors
    ///
    /// Returns an error if the request is on behalf of a caller.
    pub fn own(&self) -> Result<(), SourceError> {
        match self.subject {
            None => Ok(()),
            Some(_) => Err(SourceError::refused(IssuerRefusal::Request, "this source exchanges no tokens")),
        }
    }

    /// Returns the resource server that the token is for; `None` for the issuer's default.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Returns the requested scopes, in order; none for the issuer's default.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scopes.iter().map(|scope| &**scope)
    }

    /// Returns the scopes in the form of RFC 6749 section 3.3, separated by spaces.
    #[must_use]
    pub fn scope_parameter(&self) -> String {
        let scopes: Vec<&str> = self.scopes().collect();
        scopes.join(" ")
    }
}

/// The form in errors and logs: `audience "inventory", scopes "inventory.read"`.
impl fmt::Display for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.audience() {
            Some(audience) => write!(f, "audience {audience:?}")?,
            None => f.write_str("the default audience")?,
        }
        if self.scopes.is_empty() {
            f.write_str(", default scopes")?;
        } else {
            write!(f, ", scopes {:?}", self.scope_parameter())?;
        }
        f.write_str(if self.subject.is_some() { ", on behalf of a caller" } else { "" })
    }
}

/// The token of the party on whose behalf another is requested. RFC 8693 section 2.1. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SubjectToken(Arc<str>);

impl SubjectToken {
    /// Takes the token in compact form.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// Returns the token itself, for the request that exchanges it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SubjectToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SubjectToken([REDACTED])")
    }
}

/// A token from its source.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: AccessToken,
    /// The lifetime, counted from the request: correct even with a wrong clock.
    pub expires_in: Duration,
    /// The issuer's time of renewal, counted from the request. `None`: well before it expires.
    pub refresh_after: Option<Duration>,
    /// The time on the issuer's clock, if reported: it reveals a wrong clock of the client.
    pub server_time: Option<SystemTime>,
}

impl IssuedToken {
    /// Creates a token with only a lifetime.
    #[must_use]
    pub fn new(token: AccessToken, expires_in: Duration) -> Self {
        Self { token, expires_in, refresh_after: None, server_time: None }
    }
}
