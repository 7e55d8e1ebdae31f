//! The reasons for which the issuer rejects a request: one closed type for both protocols.
//!
//! Outward it becomes a gRPC status in `token_server::service` and OAuth JSON in `token_server::http`,
//! and only there. Inward it carries the chain of causes, for the log alone.

use std::{borrow::Cow, fmt, time::Duration};

use token_interceptor::error_chain;
use token_proto::token::v1::ErrorReason;

/// A cause of an error: any error that can be logged.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The reason for which a request was rejected.
///
/// `Display` is the sentence that the caller may read. It never holds a secret, a token, or which of several
/// reasons made client authentication fail.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A parameter is missing, repeated or malformed. RFC 6749 section 5.2, `invalid_request`.
    #[error("{0}")]
    InvalidRequest(Cow<'static, str>),
    /// The client could not be authenticated. RFC 6749 section 5.2, `invalid_client`.
    #[error("Client authentication failed.")]
    ClientAuthenticationFailed(AuthenticationFailure),
    /// The client may not use the grant. RFC 6749 section 5.2, `unauthorized_client`.
    #[error("{0}")]
    ClientNotAuthorized(&'static str),
    /// RFC 6749 section 5.2, `unsupported_grant_type`.
    #[error("The grant type is not supported.")]
    UnsupportedGrantType,
    /// A scope is unknown, malformed, or beyond what the client is registered for.
    #[error("{0}")]
    InvalidScope(Cow<'static, str>),
    /// An audience is missing, unknown or malformed. RFC 8707 section 2, `invalid_target`.
    #[error("{0}")]
    InvalidTarget(Cow<'static, str>),
    /// A subject or actor token is invalid, or may not be exchanged by this client. RFC 8693 section 2.2.2.
    #[error("{}", .0.sentence)]
    InvalidGrant(TokenRefusal),
    /// The token would not fit into the header that carries it.
    #[error("The token would have {bytes} bytes; the audience takes {bytes_max}.")]
    TokenTooLarge {
        /// The length of the token.
        bytes: usize,
        /// The longest that the audience takes.
        bytes_max: usize,
    },
    /// The body is longer than any good request.
    #[error("The request body exceeds {bytes_max} bytes.")]
    BodyTooLarge {
        /// The longest body that is read.
        bytes_max: usize,
    },
    /// Too many requests.
    #[error("{}", budget.sentence())]
    RateLimited {
        /// The budget that is spent. For the audit log alone.
        budget: Budget,
        /// When the next one is admitted.
        retry_after: Duration,
    },
    /// The store is out of reach and the answer is not known without it.
    #[error("The issuer cannot answer right now.")]
    Unavailable(#[source] Cause),
    /// A bug of ours.
    #[error("Internal error.")]
    Internal(#[source] Cause),
}

/// A refused subject or actor token: a sentence for the caller, and the fault for the audit log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    sentence: &'static str,
    detail: Option<Box<str>>,
}

/// The budget that a request which comes too often has spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The peer's requests.
    Peer,
    /// The client's requests.
    Client,
    /// The failed authentications of a client ID from one peer.
    Failures,
    /// The client's tokens in this window.
    Quota,
    /// The memory for assertions that must not be used twice.
    Assertions,
    /// The client's revocations of single tokens.
    Revocations,
    /// The single tokens of a client that are revoked and have not expired.
    LiveRevocations,
    /// The trust streams of one peer, or of all.
    TrustStreams,
    /// The requests that the server does at once.
    AtOnce,
}

impl Budget {
    /// A stable word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Peer => "peer_requests",
            Self::Client => "client_requests",
            Self::Failures => "failed_authentications",
            Self::Quota => "client_quota",
            Self::Assertions => "remembered_assertions",
            Self::Revocations => "client_revocations",
            Self::LiveRevocations => "client_live_revocations",
            Self::TrustStreams => "trust_streams",
            Self::AtOnce => "requests_at_once",
        }
    }
}

impl Budget {
    /// The sentence for the caller.
    const fn sentence(self) -> &'static str {
        match self {
            Self::LiveRevocations => {
                "The client has revoked as many single tokens as are kept for one client until they expire. Let \
                 tokens expire, or have an operator revoke all tokens of the client at once."
            }
            Self::TrustStreams => "There are too many trust streams. Close one, or try again later.",
            Self::Peer
            | Self::Client
            | Self::Failures
            | Self::Quota
            | Self::Assertions
            | Self::Revocations
            | Self::AtOnce => "Too many requests.",
        }
    }
}

/// The cause of a failed client authentication. For the audit log alone: the caller gets one answer for all
/// of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// Nothing was presented.
    Missing,
    /// The presented credential cannot be read.
    Malformed,
    /// The scheme or type of credential is not one that is offered.
    UnsupportedMethod,
    /// There is no such client.
    UnknownClient,
    /// The client is disabled.
    ClientDisabled,
    /// No credential of the client matches.
    NoMatch,
    /// The client assertion is not good: why.
    AssertionRefused(&'static str),
    /// No live credential of the client matches, and it has some that have expired.
    NoLiveMatch,
}

impl AuthenticationFailure {
    /// A stable word for the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "credentials_missing",
            Self::Malformed => "credentials_malformed",
            Self::UnsupportedMethod => "method_unsupported",
            Self::UnknownClient => "client_unknown",
            Self::ClientDisabled => "client_disabled",
            Self::NoMatch => "credential_mismatch",
            Self::AssertionRefused(_) => "assertion_refused",
            Self::NoLiveMatch => "credential_mismatch_some_expired",
        }
    }
}

impl fmt::Display for AuthenticationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::AssertionRefused(why) => write!(f, ": {why}"),
            Self::Missing
            | Self::Malformed
            | Self::UnsupportedMethod
            | Self::UnknownClient
            | Self::ClientDisabled
            | Self::NoMatch
            | Self::NoLiveMatch => Ok(()),
        }
    }
}

/// The message for a caller whose request did not finish in time.
pub const TOO_SLOW: &str = "The request took too long to arrive, or to answer.";

/// When to come back after a failure of ours.
pub const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

impl IssueError {
    /// More requests at once than the server does.
    pub const fn overloaded() -> Self {
        Self::RateLimited { budget: Budget::AtOnce, retry_after: UNAVAILABLE_RETRY_AFTER }
    }

    /// `invalid_request` with a fixed sentence.
    pub const fn invalid_request(sentence: &'static str) -> Self {
        Self::InvalidRequest(Cow::Borrowed(sentence))
    }

    /// A refused subject or actor token, by a fixed sentence.
    pub(crate) const fn invalid_grant(sentence: &'static str) -> Self {
        Self::InvalidGrant(TokenRefusal { sentence, detail: None })
    }

    /// The same, with the fault for the audit log: the check, the claim, its value and the expected value.
    pub(crate) fn invalid_grant_because(sentence: &'static str, detail: impl Into<String>) -> Self {
        Self::InvalidGrant(TokenRefusal { sentence, detail: Some(detail.into().into_boxed_str()) })
    }

    /// The stable reason that callers of either face may match on.
    #[must_use]
    pub const fn reason(&self) -> ErrorReason {
        match self {
            Self::InvalidRequest(_) | Self::BodyTooLarge { .. } => ErrorReason::InvalidRequest,
            Self::ClientAuthenticationFailed(_) => ErrorReason::ClientAuthenticationFailed,
            Self::ClientNotAuthorized(_) => ErrorReason::ClientNotAuthorized,
            Self::UnsupportedGrantType => ErrorReason::UnsupportedGrantType,
            Self::InvalidScope(_) => ErrorReason::InvalidScope,
            Self::InvalidTarget(_) => ErrorReason::InvalidTarget,
            Self::InvalidGrant(_) => ErrorReason::InvalidGrant,
            Self::TokenTooLarge { .. } => ErrorReason::TokenTooLarge,
            Self::RateLimited { .. } => ErrorReason::RateLimited,
            Self::Unavailable(_) => ErrorReason::IssuerUnavailable,
            Self::Internal(_) => ErrorReason::Internal,
        }
    }

    /// When the caller may try again; none where trying again changes nothing.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            Self::Unavailable(_) => Some(UNAVAILABLE_RETRY_AFTER),
            Self::InvalidRequest(_)
            | Self::ClientAuthenticationFailed(_)
            | Self::ClientNotAuthorized(_)
            | Self::UnsupportedGrantType
            | Self::InvalidScope(_)
            | Self::InvalidTarget(_)
            | Self::InvalidGrant(_)
            | Self::TokenTooLarge { .. }
            | Self::BodyTooLarge { .. }
            | Self::Internal(_) => None,
        }
    }

    /// Returns the details that the log adds to [`IssueError::reason`]. Callers must not learn them.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::ClientAuthenticationFailed(failure) => Some(failure.to_string()),
            Self::Unavailable(cause) | Self::Internal(cause) => Some(error_chain::of(cause.as_ref())),
            Self::InvalidRequest(sentence) | Self::InvalidScope(sentence) | Self::InvalidTarget(sentence) => {
                Some(sentence.to_string())
            }
            Self::ClientNotAuthorized(sentence) => Some((*sentence).to_owned()),
            Self::InvalidGrant(TokenRefusal { sentence, detail }) => {
                Some(detail.as_deref().unwrap_or(sentence).to_owned())
            }
            Self::UnsupportedGrantType | Self::TokenTooLarge { .. } | Self::BodyTooLarge { .. } => None,
            Self::RateLimited { budget, .. } => Some(budget.as_str().to_owned()),
        }
    }
}
