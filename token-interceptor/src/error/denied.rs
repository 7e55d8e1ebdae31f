//! The denial of a call: by the policy, by the verifier, or by a rule of the program's own.

use std::{borrow::Cow, fmt, time::Duration};

use token_proto::token::v1::ErrorReason;

use super::{Detail, VerifyError};

/// The reason a request was rejected. The layers turn it into an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied(pub(crate) Denial);

/// The closed list behind [`Denied`], in the order of the request path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// The method has no policy, so no caller may use it.
    MethodNotDeclared,
    /// No bearer token was presented.
    CredentialsMissing,
    /// There is an `authorization`, but it is not one bearer token. The text names the fault.
    CredentialsMalformed(&'static str),
    /// A request with two credentials. One of them may be another caller's.
    CredentialsSeveral,
    /// The credential of another scheme is not valid, or no longer.
    Credential { check: &'static str, sentence: &'static str, expired: bool },
    /// The backend of another scheme is unreachable, so there is no verdict. The text is for the log.
    SchemeUnavailable { check: &'static str, retry_after: Duration, fault: Box<str> },
    /// The token was not accepted.
    Token(VerifyError),
    /// Scopes that the method demands and the token lacks.
    ScopeInsufficient { missing: Vec<Cow<'static, str>>, detail: Box<Detail> },
    /// The client is not one of the method's callers.
    CallerNotAllowed(Box<Detail>),
    /// A claim has none of the values that the method allows.
    ClaimNotAllowed(Box<Detail>),
    /// Issued longer ago than the method allows.
    TokenTooOld(Box<Detail>),
    /// Denied by a rule of the program's own.
    Custom { rule: &'static str, sentence: &'static str },
}

impl Denied {
    /// Denies a call by a rule of the program's own: PERMISSION_DENIED with the reason `CALLER_NOT_ALLOWED`.
    ///
    /// `rule` is a stable name, such as `tenant`. The caller gets it in the metadata of `ErrorInfo`, and it
    /// is the label `reason` in the metrics. `sentence` is for the caller, in lower case without a full stop.
    /// Neither quotes what the caller sent.
    ///
    /// ```
    /// use token_interceptor::error::Denied;
    ///
    /// let status = tonic::Status::from(Denied::custom("tenant", "the order belongs to another tenant"));
    /// assert_eq!(status.code(), tonic::Code::PermissionDenied);
    /// ```
    #[must_use]
    pub const fn custom(rule: &'static str, sentence: &'static str) -> Self {
        Self(Denial::Custom { rule, sentence })
    }

    /// Rejects the credential of a [scheme](crate::scheme): UNAUTHENTICATED with the reason `TOKEN_INVALID`.
    ///
    /// `check` is a stable name, for the label `reason` in the metrics. `sentence` is for the caller, in
    /// lower case without a full stop. Neither quotes what the caller sent.
    #[must_use]
    pub const fn credential(check: &'static str, sentence: &'static str) -> Self {
        Self(Denial::Credential { check, sentence, expired: false })
    }

    /// Rejects the credential of a [scheme](crate::scheme) that is no longer valid: UNAUTHENTICATED with the
    /// reason `TOKEN_EXPIRED`. The parameters are those of [`Denied::credential`].
    #[must_use]
    pub const fn credential_expired(check: &'static str, sentence: &'static str) -> Self {
        Self(Denial::Credential { check, sentence, expired: true })
    }

    /// Rejects a call because the backend of a [scheme](crate::scheme) cannot decide now: UNAVAILABLE with
    /// the reason `TRUST_UNAVAILABLE` and `RetryInfo`. `fault` says which party failed and is for the log.
    /// It must not hold a credential.
    #[must_use]
    pub fn unavailable(check: &'static str, retry_after: Duration, fault: impl Into<String>) -> Self {
        Self(Denial::SchemeUnavailable { check, retry_after, fault: fault.into().into_boxed_str() })
    }

    /// Returns the reason that the caller sees.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        match &self.0 {
            Denial::MethodNotDeclared => ErrorReason::MethodNotDeclared,
            Denial::CredentialsMissing => ErrorReason::CredentialsMissing,
            Denial::Credential { expired: true, .. } => ErrorReason::TokenExpired,
            Denial::CredentialsMalformed(_) | Denial::CredentialsSeveral | Denial::Credential { .. } => {
                ErrorReason::TokenInvalid
            }
            Denial::SchemeUnavailable { .. } => ErrorReason::TrustUnavailable,
            Denial::Token(error) => error.reason(),
            Denial::ScopeInsufficient { .. } => ErrorReason::ScopeInsufficient,
            Denial::CallerNotAllowed(_) | Denial::ClaimNotAllowed(_) | Denial::Custom { .. } => {
                ErrorReason::CallerNotAllowed
            }
            Denial::TokenTooOld(_) => ErrorReason::TokenTooOld,
        }
    }

    /// Returns the name of the failed check, for metrics: one of a closed set, and the rules and schemes of
    /// the program's own.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match &self.0 {
            Denial::MethodNotDeclared => "method_not_declared",
            Denial::CredentialsMissing => "credentials_missing",
            Denial::CredentialsMalformed(_) => "credentials_malformed",
            Denial::CredentialsSeveral => "credentials_several",
            Denial::Credential { check, .. } | Denial::SchemeUnavailable { check, .. } => check,
            Denial::Token(error) => error.label(),
            Denial::ScopeInsufficient { .. } => "scope",
            Denial::CallerNotAllowed(_) => "caller",
            Denial::ClaimNotAllowed(_) => "claim",
            Denial::TokenTooOld(_) => "token_age",
            Denial::Custom { rule, .. } => rule,
        }
    }

    /// Returns the member of the token that the check compared, if any. Not for the caller.
    #[must_use]
    pub fn member(&self) -> Option<&Detail> {
        match &self.0 {
            Denial::Token(error) => error.detail(),
            Denial::ScopeInsufficient { detail, .. }
            | Denial::CallerNotAllowed(detail)
            | Denial::ClaimNotAllowed(detail)
            | Denial::TokenTooOld(detail) => Some(detail),
            Denial::MethodNotDeclared
            | Denial::CredentialsMissing
            | Denial::CredentialsMalformed(_)
            | Denial::CredentialsSeveral
            | Denial::Credential { .. }
            | Denial::SchemeUnavailable { .. }
            | Denial::Custom { .. } => None,
        }
    }
}

impl From<Denial> for Denied {
    fn from(kind: Denial) -> Self {
        Self(kind)
    }
}

impl From<VerifyError> for Denied {
    fn from(error: VerifyError) -> Self {
        Self(Denial::Token(error))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Denial::MethodNotDeclared => f.write_str("the method declares no policy"),
            Denial::CredentialsMissing => f.write_str("no bearer token was presented"),
            Denial::CredentialsMalformed(fault) => write!(f, "the authorization is malformed: {fault}"),
            Denial::CredentialsSeveral => f.write_str("the request has several credentials"),
            Denial::Credential { sentence, .. } => f.write_str(sentence),
            Denial::SchemeUnavailable { fault, .. } => write!(f, "the credential cannot be verified: {fault}"),
            Denial::Token(error) => error.fmt(f),
            Denial::ScopeInsufficient { missing, detail } => {
                write!(f, "missing scopes: {} ({detail})", missing.join(" "))
            }
            Denial::CallerNotAllowed(detail) => write!(f, "the client is not among the method's callers ({detail})"),
            Denial::ClaimNotAllowed(detail) => write!(f, "a claim has no value that the method allows ({detail})"),
            Denial::TokenTooOld(detail) => write!(f, "the token was issued too long ago for this method ({detail})"),
            Denial::Custom { rule, sentence } => write!(f, "{sentence} (rule {rule})"),
        }
    }
}

impl std::error::Error for Denied {}
