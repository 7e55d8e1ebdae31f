//! Where access tokens come from.
//!
//! A [`TokenSource`] answers one question, once per call, and remembers nothing: keeping tokens fresh, sharing
//! one request between many calls and backing off are [`crate::refresh`]'s work, the same for every source.
//!
//! | source | a token from |
//! |---|---|
//! | [`ClientCredentials`] | an OAuth server, by the client's own credentials, over gRPC or HTTP |
//! | [`TokenExchange`] | the same, on behalf of whom the program serves (RFC 8693) |
//! | [`TokenFile`] | a file that somebody else keeps fresh |
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
mod http;
mod issuer;
mod static_token;

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

pub use self::http::AudienceParameter;
pub use access_token::{AccessToken, MalformedToken};
pub use assertion::PrivateKeyJwt;
pub use cause::Cause;
pub use client_credentials::ClientCredentials;
pub use credential::{ClientCredential, SecretIn};
pub use error::{Refusal, SourceError};
pub use exchange::TokenExchange;
pub use file::TokenFile;
pub use issuer::{GrpcAddress, IssuerBuilder, SourceConfigError};
pub use static_token::StaticToken;

/// How long a token is taken to be good for whose issuer does not say: short enough to be true nearly always,
/// long enough not to ask all the time.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(60);

/// Obtains access tokens.
#[async_trait::async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// Obtains one token.
    ///
    /// One call is at most a few requests to the issuer; it need not retry, and is dropped when nobody needs
    /// its answer any more.
    ///
    /// # Errors
    ///
    /// A [`SourceError`] that says whether asking again may help.
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError>;
}

#[async_trait::async_trait]
impl<S: TokenSource + ?Sized> TokenSource for Arc<S> {
    async fn fetch(&self, request: &TokenRequest) -> Result<IssuedToken, SourceError> {
        (**self).fetch(request).await
    }
}

/// What a token is asked to be good for. Equal requests share one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TokenRequest {
    audience: Option<Arc<str>>,
    scopes: BTreeSet<Arc<str>>,
    max_age: Option<Duration>,
    subject: Option<SubjectToken>,
}

impl TokenRequest {
    /// A token for one resource server (RFC 8707), with the scopes that the issuer gives by default.
    #[must_use]
    pub fn for_audience(audience: impl Into<Arc<str>>) -> Self {
        Self { audience: Some(audience.into()), ..Self::default() }
    }

    /// A token for whatever audience the issuer gives by default.
    #[must_use]
    pub fn without_audience() -> Self {
        Self::default()
    }

    /// Asks for these scopes (RFC 6749 section 3.3) as well.
    #[must_use]
    pub fn with_scopes<S: Into<Arc<str>>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes.extend(scopes.into_iter().map(Into::into));
        self
    }

    /// The token is replaced before it is older than this, however long it is good for.
    #[must_use]
    pub fn with_max_age(mut self, max_age: Option<Duration>) -> Self {
        self.max_age = max_age;
        self
    }

    /// A token for whom the subject token stands for, in exchange for it (RFC 8693).
    #[must_use]
    pub fn on_behalf_of(mut self, subject: SubjectToken) -> Self {
        self.subject = Some(subject);
        self
    }

    /// What both ask for, for the audience of this one.
    pub(crate) fn union(mut self, other: &Self) -> Self {
        self.scopes.extend(other.scopes.iter().cloned());
        self.max_age = [self.max_age, other.max_age].into_iter().flatten().min();
        self
    }

    /// How old the token may become.
    #[must_use]
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// On whose behalf; none: the client's own.
    #[must_use]
    pub fn subject(&self) -> Option<&SubjectToken> {
        self.subject.as_ref()
    }

    /// For sources that know their own token and no other: handing it out in place of a caller's would have
    /// this program's rights used for somebody who may not have them.
    ///
    /// # Errors
    ///
    /// When the request is on behalf of a caller.
    pub fn own(&self) -> Result<(), SourceError> {
        match self.subject {
            None => Ok(()),
            Some(_) => Err(SourceError::refused(Refusal::Request, "this source exchanges no tokens")),
        }
    }

    /// The resource server that the token is for; none: the issuer's default.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// The scopes that are asked for, in order; none: the issuer's default for the audience.
    pub fn scopes(&self) -> impl ExactSizeIterator<Item = &str> {
        self.scopes.iter().map(|scope| &**scope)
    }

    /// The scopes in the form of RFC 6749 section 3.3, separated by spaces.
    #[must_use]
    pub fn scope_parameter(&self) -> String {
        let scopes: Vec<&str> = self.scopes().collect();
        scopes.join(" ")
    }
}

/// As errors and logs name it: `audience "inventory", scopes "inventory.read"`.
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

/// The token of somebody on whose behalf another is asked for. RFC 8693 section 2.1. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SubjectToken(Arc<str>);

impl SubjectToken {
    /// Takes the token in compact form.
    #[must_use]
    pub fn new(token: &str) -> Self {
        Self(token.into())
    }

    /// The token itself, for the request that exchanges it.
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

/// A token as its source hands it out.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// The token.
    pub token: AccessToken,
    /// How long it is good for, counted from the request: right also where the clock is wrong.
    pub expires_in: Duration,
    /// When the issuer wants it renewed, counted from the request. None: well before it expires.
    pub refresh_after: Option<Duration>,
    /// The issuer's clock, where it tells: a client whose clock is wrong is told.
    pub server_time: Option<SystemTime>,
}

impl IssuedToken {
    /// A token with a lifetime and nothing more.
    #[must_use]
    pub fn new(token: AccessToken, expires_in: Duration) -> Self {
        Self { token, expires_in, refresh_after: None, server_time: None }
    }
}
