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
/// `Display` is the sentence for the caller. It never contains a secret, a token, or the reason for a failed
/// client authentication.
///
/// Exhaustive: both protocols must answer a new reason before it compiles.
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
    /// The token would exceed the limit of the header that carries it.
    #[error("The token would be {bytes} bytes; the limit for this audience is {bytes_max}.")]
    TokenTooLarge {
        /// The length of the token.
        bytes: usize,
        /// The longest token that the audience accepts.
        bytes_max: usize,
    },
    /// The body is longer than any valid request.
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
        /// The time until the next one is admitted.
        retry_after: Duration,
    },
    /// The store is unreachable, and the answer depends on it.
    #[error("The issuer cannot answer right now.")]
    Unavailable(#[source] Cause),
    /// A bug in the server.
    #[error("Internal error.")]
    Internal(#[source] Cause),
}

/// A rejected subject or actor token: a sentence for the caller, and the cause for the audit log alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRefusal {
    sentence: &'static str,
    detail: Option<Box<str>>,
}

/// The budget that a request which comes too often has spent.
///
/// Exhaustive: the audit log must name a new budget before it compiles.
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
    /// The server's concurrent requests.
    AtOnce,
}

impl Budget {
    /// The stable name in the log.
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
                "The client has reached its limit of revoked single tokens. Wait until some of them \
                 expire, or ask an operator to revoke all tokens of the client."
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
///
/// Exhaustive: the audit log must name a new cause before it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthenticationFailure {
    /// Nothing was presented.
    Missing,
    /// The presented credential cannot be read.
    Malformed,
    /// The scheme or type of credential is not supported.
    UnsupportedMethod,
    /// There is no such client.
    UnknownClient,
    /// The client is disabled.
    ClientDisabled,
    /// No credential of the client matches.
    NoMatch,
    /// The client assertion is invalid, with the reason.
    AssertionRefused(&'static str),
    /// The assertion is of another issuer, and it or its issuer is not accepted. The text says what came and
    /// what was configured.
    FederationRefused(Box<str>),
    /// No live credential of the client matches, and it has expired ones.
    NoLiveMatch,
}

impl AuthenticationFailure {
    /// The stable name in the log.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Missing => "credentials_missing",
            Self::Malformed => "credentials_malformed",
            Self::UnsupportedMethod => "method_unsupported",
            Self::UnknownClient => "client_unknown",
            Self::ClientDisabled => "client_disabled",
            Self::NoMatch => "credential_mismatch",
            Self::AssertionRefused(_) => "assertion_refused",
            Self::FederationRefused(_) => "federated_identity_refused",
            Self::NoLiveMatch => "credential_mismatch_some_expired",
        }
    }
}

impl fmt::Display for AuthenticationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::AssertionRefused(why) => write!(f, ": {why}"),
            Self::FederationRefused(why) => write!(f, ": {why}"),
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

/// The retry delay after a failure of the server.
pub const UNAVAILABLE_RETRY_AFTER: Duration = Duration::from_secs(1);

impl IssueError {
    /// Returns the error for a request over the server's limit of concurrent requests.
    pub const fn overloaded() -> Self {
        Self::RateLimited { budget: Budget::AtOnce, retry_after: UNAVAILABLE_RETRY_AFTER }
    }

    /// Returns `invalid_request` with a fixed sentence.
    pub const fn invalid_request(sentence: &'static str) -> Self {
        Self::InvalidRequest(Cow::Borrowed(sentence))
    }

    /// Returns the error for a rejected subject or actor token, with a fixed sentence.
    pub(crate) const fn invalid_grant(sentence: &'static str) -> Self {
        Self::InvalidGrant(TokenRefusal { sentence, detail: None })
    }

    /// Returns the same with the cause for the audit log: the check, the claim, its value and the expected
    /// value.
    pub(crate) fn invalid_grant_because(sentence: &'static str, detail: impl Into<String>) -> Self {
        Self::InvalidGrant(TokenRefusal { sentence, detail: Some(detail.into().into_boxed_str()) })
    }

    /// The stable reason, which callers of either protocol may match on.
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

    /// The retry delay; `None` if a retry changes nothing.
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
