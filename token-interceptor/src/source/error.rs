//! Why a source gave no token.

use std::{error::Error, fmt, time::Duration};

use super::Cause;

/// Why a source gave no token.
///
/// Two kinds: the source could not answer, which passes by itself and is asked again in the background; or it
/// answered no (a [`Refusal`]), which passes when somebody changes something.
#[derive(Debug)]
pub struct SourceError {
    refusal: Option<Refusal>,
    cause: Cause,
    retry_after: Option<Duration>,
    source: Box<dyn Error + Send + Sync>,
}

/// An issuer's no. RFC 6749 section 5.2, RFC 8707 section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// `invalid_client`: the issuer does not know this client by these credentials.
    ClientAuthentication,
    /// `unauthorized_client`: the client may not use this grant.
    ClientNotAuthorized,
    /// `invalid_scope`: the client is not registered for one of the scopes.
    Scope,
    /// `invalid_target`: the client is not registered for the audience.
    Target,
    /// `invalid_grant`: the subject token, or the assertion, is not good.
    Grant,
    /// What was provided for this program as its token is none.
    Token,
    /// `invalid_request`, `unsupported_grant_type` and whatever else: the issuer does not understand what is
    /// asked for.
    Request,
}

impl Refusal {
    /// The refusal that an OAuth error code stands for.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        match code {
            "invalid_client" => Self::ClientAuthentication,
            "unauthorized_client" | "access_denied" => Self::ClientNotAuthorized,
            "invalid_scope" => Self::Scope,
            "invalid_target" => Self::Target,
            "invalid_grant" => Self::Grant,
            _ => Self::Request,
        }
    }

    /// In words, with what to look at.
    fn sentence(self) -> &'static str {
        match self {
            Self::ClientAuthentication => "the issuer refused the client's credentials (invalid_client)",
            Self::ClientNotAuthorized => "the issuer does not let the client use this grant (unauthorized_client)",
            Self::Scope => "the issuer does not grant the client these scopes (invalid_scope)",
            Self::Target => "the issuer does not grant the client this audience (invalid_target)",
            Self::Grant => "the issuer refused the subject token or the assertion (invalid_grant)",
            Self::Token => "the token that was provided for this program cannot be used",
            Self::Request => "the issuer refused the request for a token",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl SourceError {
    /// The source could not be reached, or could not answer: asking again may help.
    #[must_use]
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self { refusal: None, cause: Cause::of(&*source), retry_after: None, source }
    }

    /// The source answered no.
    #[must_use]
    pub fn refused(refusal: Refusal, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { refusal: Some(refusal), cause: Cause::Answer, retry_after: None, source: source.into() }
    }

    /// The class of the failure, where the source itself does not hold it.
    pub(crate) fn with_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The source is not to be asked again before this time has passed. `RetryInfo`, `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Whether it may pass without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.refusal.is_none()
    }

    /// The issuer's no, where it gave one.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.refusal
    }

    /// The class of the failure.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// How long the source asks to be left alone.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.refusal.map_or("no token can be obtained right now", Refusal::sentence))
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
