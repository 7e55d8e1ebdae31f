//! The answers to refused callers: the only place that builds a [`tonic::Status`] or its HTTP twin.
//!
//! An answer has a code, a stable reason and a fixed sentence; `google.rpc.ErrorInfo` and, where waiting
//! helps, `RetryInfo`; and a `www-authenticate` challenge by RFC 6750 section 3, in gRPC as metadata.

use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use token_proto::{ERROR_DOMAIN, token::v1::ErrorReason};
use tonic::{Code, Status, body::Body, metadata::MetadataMap};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::error::{Denial, Denied, Unverified, VerifyError};

/// The detail that names the program's own rule, in the metadata of `ErrorInfo` and in the JSON of HTTP.
const RULE: &str = "rule";

/// A refusal, before it takes the form of either protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    reason: ErrorReason,
    sentence: &'static str,
    /// Space-separated, as in RFC 6750 section 3.
    scope: Option<Box<str>>,
    retry_after: Option<Duration>,
    resource_metadata: Option<Arc<str>>,
    /// Details for the client side, appended to the sentence.
    about: Option<Box<str>>,
    /// Additional metadata of `ErrorInfo`.
    details: Vec<(&'static str, String)>,
}

impl Answer {
    /// An answer with a reason and the fixed sentence that explains it.
    #[must_use]
    pub const fn new(reason: ErrorReason, sentence: &'static str) -> Self {
        Self {
            reason,
            sentence,
            scope: None,
            retry_after: None,
            resource_metadata: None,
            about: None,
            details: Vec::new(),
        }
    }

    /// Adds the missing scopes.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into().into_boxed_str());
        self
    }

    /// Adds the time to wait before a retry.
    #[must_use]
    pub const fn retry_after(mut self, retry_after: Duration) -> Self {
        self.retry_after = Some(retry_after);
        self
    }

    /// Adds the URL of the service's metadata to the challenge: RFC 9728 section 5.1.
    #[must_use]
    pub(crate) fn resource_metadata(mut self, url: Option<Arc<str>>) -> Self {
        self.resource_metadata = url;
        self
    }

    /// Appends details to the sentence. Only for the client side, which reports to its own program.
    pub(crate) fn about(mut self, about: String) -> Self {
        self.about = Some(about.into_boxed_str());
        self
    }

    /// Adds to the metadata of `ErrorInfo`. It must hold nothing that a caller may not read.
    pub(crate) fn detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.push((name, value.into()));
        self
    }

    /// Returns the stable reason.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// Returns the answer as a gRPC status.
    #[must_use]
    pub fn into_status(self) -> Status {
        let mut details = ErrorDetails::new();
        let mut metadata: HashMap<String, String> =
            self.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        metadata.extend(self.scope.iter().map(|scope| ("scope".to_owned(), scope.to_string())));
        details.set_error_info(self.reason.as_reason(), ERROR_DOMAIN, metadata);
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        let mut headers = HeaderMap::new();
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        let metadata = MetadataMap::from_headers(headers);
        let sentence = match &self.about {
            Some(about) => format!("{}: {about}", self.sentence),
            None => self.sentence.to_owned(),
        };
        Status::with_error_details_and_metadata(code(self.reason), sentence, details, metadata)
    }

    /// Returns the answer for plain HTTP: status, challenge, and a small JSON object in the form of RFC 6749
    /// section 5.2.
    #[must_use]
    pub fn into_http(self) -> Response<Body> {
        let mut body = serde_json::json!({
            "error": oauth_error(self.reason),
            "error_description": self.sentence,
            "reason": self.reason.as_reason(),
        });
        let rule = self.details.iter().find(|(name, _)| *name == RULE);
        if let (Some((name, rule)), Some(members)) = (rule, body.as_object_mut()) {
            members.insert((*name).to_owned(), rule.as_str().into());
        }
        let mut response = Response::new(Body::new(body.to_string()));
        *response.status_mut() = http_status(self.reason);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.challenge() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(retry_after) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds_rounded_up(retry_after).into());
        }
        response
    }

    /// Returns the challenge of RFC 6750 section 3.1; `None` where another token would not help.
    fn challenge(&self) -> Option<HeaderValue> {
        let mut parameters = match oauth_error(self.reason) {
            _ if self.reason == ErrorReason::CredentialsMissing => Vec::new(),
            error @ "invalid_token" => vec![("error", error), ("error_description", self.sentence)],
            error @ "insufficient_scope" => {
                vec![("error", error), ("scope", self.scope.as_deref().unwrap_or_default())]
            }
            _ => return None,
        };
        parameters.extend(self.resource_metadata.as_deref().map(|url| ("resource_metadata", url)));
        let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!(r#"{name}="{value}""#)).collect();
        HeaderValue::try_from(format!("Bearer {}", parameters.join(", ")).trim_end()).ok()
    }
}

impl From<&Denied> for Answer {
    fn from(denied: &Denied) -> Self {
        let answer = Self::new(denied.reason(), sentence(denied));
        match &denied.0 {
            Denial::ScopeInsufficient { missing, .. } => answer.scope(missing.join(" ")),
            Denial::Token(error) => Self { retry_after: error.retry_after(), ..answer },
            Denial::Custom { rule, .. } => answer.detail(RULE, *rule),
            Denial::SchemeUnavailable { retry_after, .. } => answer.retry_after(*retry_after),
            Denial::MethodNotDeclared
            | Denial::CredentialsMissing
            | Denial::CredentialsMalformed(_)
            | Denial::CredentialsSeveral
            | Denial::Credential { .. }
            | Denial::CallerNotAllowed(_)
            | Denial::ClaimNotAllowed(_)
            | Denial::TokenTooOld(_) => answer,
        }
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        Answer::from(&denied).into_status()
    }
}

impl From<VerifyError> for Status {
    fn from(error: VerifyError) -> Self {
        Denied::from(error).into()
    }
}

/// Returns the fixed sentence of a refusal. It never quotes the caller's text.
fn sentence(denied: &Denied) -> &'static str {
    match &denied.0 {
        Denial::MethodNotDeclared => "the method declares no policy, so every call is denied",
        Denial::CredentialsMissing => "a bearer token is required",
        Denial::CredentialsMalformed(_) => "the authorization is not one bearer token",
        Denial::CredentialsSeveral => "the request has more than one credential",
        Denial::Credential { sentence, .. } => sentence,
        Denial::SchemeUnavailable { .. } => "the credential cannot be verified at the moment; try again",
        Denial::ScopeInsufficient { .. } => "the token lacks a scope that the method demands",
        Denial::CallerNotAllowed(_) => "the client may not call this method",
        Denial::ClaimNotAllowed(_) => "the token lacks a claim that the method demands",
        Denial::Custom { sentence, .. } => sentence,
        Denial::TokenTooOld(_) => "the token was issued too long ago for this method",
        Denial::Token(error) => match error.kind() {
            Unverified::KeyUnknown => "the token is signed by a key that its issuer does not publish",
            Unverified::KeyUnavailable { .. } => "the token cannot be verified at the moment; try again",
            Unverified::AudienceMismatch => "the token was issued for another audience",
            Unverified::Expired => "the token has expired",
            Unverified::ClientNotTrusted => "the client may not call this method",
            Unverified::Revoked => "the token was revoked",
            // The log alone says which check failed: it would tell a forger how far the forgery came.
            Unverified::TooLarge
            | Unverified::Malformed(_)
            | Unverified::AlgorithmNotAllowed
            | Unverified::HeaderNotAllowed(_)
            | Unverified::IssuerUnknown
            | Unverified::SignatureInvalid
            | Unverified::TypeNotAllowed
            | Unverified::ClaimNotAllowed
            | Unverified::LifetimeTooLong
            | Unverified::NotYetValid
            | Unverified::IssuedInFuture
            | Unverified::SenderConstrained
            | Unverified::NotDecryptable(_)
            | Unverified::NotEncrypted => "the token is not valid",
        },
    }
}

/// Returns the gRPC code of a reason, as `m2m/token/v1/error_reason.proto` documents it.
#[must_use]
pub fn code(reason: ErrorReason) -> Code {
    row(reason).code
}

/// Returns the HTTP status of a reason.
#[must_use]
pub fn http_status(reason: ErrorReason) -> StatusCode {
    row(reason).http
}

/// Returns the OAuth error code of a reason: RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 8707 section 2.
#[must_use]
pub fn oauth_error(reason: ErrorReason) -> &'static str {
    row(reason).oauth_error
}

/// The form of one reason in each protocol.
struct Row {
    code: Code,
    http: StatusCode,
    /// RFC 6750 section 3.1, RFC 6749 sections 4.1.2.1 and 5.2, RFC 8707 section 2.
    oauth_error: &'static str,
}

fn row(reason: ErrorReason) -> Row {
    let (code, http, oauth_error) = match reason {
        ErrorReason::CredentialsMissing => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "invalid_request"),
        ErrorReason::TokenInvalid
        | ErrorReason::TokenExpired
        | ErrorReason::TokenRevoked
        | ErrorReason::TokenKeyUnknown
        | ErrorReason::TokenAudienceMismatch => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "invalid_token"),
        ErrorReason::ClientAuthenticationFailed => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "invalid_client"),
        ErrorReason::ScopeInsufficient => (Code::PermissionDenied, StatusCode::FORBIDDEN, "insufficient_scope"),
        ErrorReason::CallerNotAllowed | ErrorReason::TokenTooOld | ErrorReason::MethodNotDeclared => {
            (Code::PermissionDenied, StatusCode::FORBIDDEN, "access_denied")
        }
        // RFC 6749 section 5.2: every error of the token endpoint is a 400, except a failed authentication.
        ErrorReason::ClientNotAuthorized => (Code::PermissionDenied, StatusCode::BAD_REQUEST, "unauthorized_client"),
        // RFC 8693 section 2.2.2 demands invalid_request also for an invalid subject or actor token.
        ErrorReason::InvalidRequest | ErrorReason::InvalidGrant | ErrorReason::TokenTooLarge => {
            (Code::InvalidArgument, StatusCode::BAD_REQUEST, "invalid_request")
        }
        ErrorReason::InvalidScope => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "invalid_scope"),
        ErrorReason::InvalidTarget => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "invalid_target"),
        ErrorReason::UnsupportedGrantType => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "unsupported_grant_type"),
        ErrorReason::RateLimited => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
        ErrorReason::TrustUnavailable | ErrorReason::IssuerUnavailable => {
            (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
        }
        ErrorReason::NotFound => (Code::NotFound, StatusCode::NOT_FOUND, "invalid_request"),
        ErrorReason::AlreadyExists => (Code::AlreadyExists, StatusCode::CONFLICT, "invalid_request"),
        ErrorReason::EtagMismatch => (Code::Aborted, StatusCode::CONFLICT, "invalid_request"),
        ErrorReason::PreconditionFailed => (Code::FailedPrecondition, StatusCode::BAD_REQUEST, "invalid_request"),
        ErrorReason::Internal | ErrorReason::Unspecified => {
            (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, "server_error")
        }
    };
    Row { code, http, oauth_error }
}

/// RFC 9110 section 10.2.3 allows whole seconds only. Rounded up, so that the caller does not retry too
/// early.
fn seconds_rounded_up(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn status(denial: Denial) -> Status {
        Denied(denial).into()
    }

    fn challenge(status: &Status) -> Option<&str> {
        status.metadata().get("www-authenticate").map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_missing_token_is_challenged_without_an_error_code() {
        let status = status(Denial::CredentialsMissing);
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(challenge(&status), Some("Bearer"));
        let info = status.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, &*info.domain), ("CREDENTIALS_MISSING", "m2m.token.v1"));
    }

    #[test]
    fn missing_scopes_are_named_twice() {
        let detail = crate::error::Detail::new("scope", String::new(), "").into();
        let status = status(Denial::ScopeInsufficient { missing: vec!["a.read".into(), "b".into()], detail });
        assert_eq!(status.code(), Code::PermissionDenied);
        assert_eq!(challenge(&status), Some(r#"Bearer error="insufficient_scope", scope="a.read b""#));
        assert_eq!(status.get_details_error_info().unwrap().metadata["scope"], "a.read b");
    }

    #[test]
    fn what_cannot_be_known_says_when_to_ask_again() {
        let retry_after = Duration::from_millis(1500);
        let error = VerifyError::from(Unverified::KeyUnavailable { retry_after });
        let status = Status::from(error.clone());
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(retry_after));
        assert_eq!(challenge(&status), None);
        let http = Answer::from(&Denied::from(error)).into_http();
        assert_eq!(http.status(), 503);
        assert_eq!(http.headers()["retry-after"], "2");
    }

    #[test]
    fn a_bad_token_is_challenged_as_rfc_6750_says() {
        let status = Status::from(VerifyError::from(Unverified::Expired));
        assert_eq!(
            challenge(&status),
            Some(r#"Bearer error="invalid_token", error_description="the token has expired""#)
        );
        let http = Answer::from(&Denied::from(VerifyError::from(Unverified::SignatureInvalid))).into_http();
        assert_eq!(http.status(), 401);
        assert_eq!(http.headers()["cache-control"], "no-store");
    }

    #[tokio::test]
    async fn a_programs_own_rule_is_named_in_both_protocols() {
        let denied = Denied::custom("tenant", "the order belongs to another tenant");
        let answered = Status::from(denied.clone());
        assert_eq!((answered.code(), challenge(&answered)), (Code::PermissionDenied, None));
        assert_eq!(answered.message(), "the order belongs to another tenant");
        let info = answered.get_details_error_info().unwrap();
        assert_eq!((&*info.reason, &*info.metadata["rule"]), ("CALLER_NOT_ALLOWED", "tenant"));
        let http = Answer::from(&denied).into_http();
        assert_eq!(http.status(), 403);
        let body = http.into_body().collect().await.unwrap().to_bytes();
        let members: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&members["reason"], &members["rule"]), (&"CALLER_NOT_ALLOWED".into(), &"tenant".into()));
    }
}
