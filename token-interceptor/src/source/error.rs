//! The errors of a token source.

use std::{error::Error, fmt, time::Duration};

use super::Cause;

/// The error of a token source.
///
/// There are two kinds. The source could not answer: this passes by itself, and the source is asked again in
/// the background. Or it refused (a [`IssuerRefusal`]): this lasts until an operator changes something.
#[derive(Debug)]
pub struct SourceError {
    refusal: Option<IssuerRefusal>,
    cause: Cause,
    retry_after: Option<Duration>,
    source: Box<dyn Error + Send + Sync>,
}

/// A refusal by the issuer. RFC 6749 section 5.2, RFC 8707 section 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IssuerRefusal {
    /// `invalid_client`: the issuer does not know this client by these credentials.
    ClientAuthentication,
    /// `unauthorized_client`: the client may not use this grant.
    ClientNotAuthorized,
    /// `invalid_scope`: the client is not registered for one of the scopes.
    Scope,
    /// `invalid_target`: the client is not registered for the audience.
    Target,
    /// `invalid_grant`: the subject token or the assertion is invalid.
    Grant,
    /// The configured token is not a valid token.
    Token,
    /// `invalid_request`, `unsupported_grant_type` and all others: the issuer does not understand the
    /// request.
    Request,
}

impl IssuerRefusal {
    /// Returns the refusal of an OAuth error code.
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

    /// Returns a stable name: the OAuth error code, or `unusable_token`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::ClientAuthentication => "invalid_client",
            Self::ClientNotAuthorized => "unauthorized_client",
            Self::Scope => "invalid_scope",
            Self::Target => "invalid_target",
            Self::Grant => "invalid_grant",
            Self::Token => "unusable_token",
            Self::Request => "invalid_request",
        }
    }

    /// Returns a sentence that names the likely fault.
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

impl fmt::Display for IssuerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl SourceError {
    /// Creates an error of a source that could not be reached or could not answer. A retry may help.
    #[must_use]
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self { refusal: None, cause: Cause::of(&*source), retry_after: None, source }
    }

    /// Creates an error of a source that refused.
    #[must_use]
    pub fn refused(refusal: IssuerRefusal, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { refusal: Some(refusal), cause: Cause::Answer, retry_after: None, source: source.into() }
    }

    /// Sets the class of the failure, if the source error does not hold it.
    pub(crate) fn with_cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// Sets the time before which the source is not to be asked again. `RetryInfo`, `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// Returns true if it may pass by itself.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        self.refusal.is_none()
    }

    /// Returns the issuer's refusal, if it gave one.
    #[must_use]
    pub fn refusal(&self) -> Option<IssuerRefusal> {
        self.refusal
    }

    /// Returns the class of the failure.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the pause that the source demands.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.refusal.map_or("no token can be obtained right now", IssuerRefusal::sentence))
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}
