//! The reasons for which a registration is rejected. RFC 7591 section 3.2.2, RFC 7592 section 2.

use token_interceptor::status::Answer;

use super::bad_token;
use crate::{
    admin::{AdminError, FieldViolation},
    error::IssueError,
};

/// The reason for which a registration was rejected.
///
/// Exhaustive: the HTTP endpoint must answer a new reason before it compiles.
#[derive(Debug)]
pub enum RegistrationError {
    /// The token is missing or invalid. RFC 6750 section 3.
    Bearer(Answer),
    /// The token is valid, but does not allow this.
    Forbidden(&'static str),
    /// The requested client metadata are invalid.
    Metadata {
        /// A code of RFC 7591 section 3.2.2.
        code: &'static str,
        /// The explanation, for people.
        description: String,
    },
    /// An error common to all requests.
    Other(IssueError),
}

impl RegistrationError {
    /// `invalid_client_metadata`
    pub(super) fn metadata(description: impl Into<String>) -> Self {
        Self::Metadata { code: "invalid_client_metadata", description: description.into() }
    }
}

impl From<IssueError> for RegistrationError {
    fn from(error: IssueError) -> Self {
        Self::Other(error)
    }
}

impl From<AdminError> for RegistrationError {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::Invalid(violations) => of_violations(&violations),
            // RFC 7592 section 2.1: a missing client gives the same error as an invalid token.
            AdminError::NotFound(_) => bad_token(),
            AdminError::BeyondOwnScopes { .. } => Self::Forbidden("A client cannot register itself for the admin API."),
            AdminError::TooManyClients => {
                Self::Forbidden("This initial access token has reached its limit of clients.")
            }
            // Other writers were faster several times, or the store is unreachable: the client should retry
            // later.
            AdminError::EtagMismatch | AdminError::Unavailable(_) => Self::Other(IssueError::Unavailable(error.into())),
            AdminError::AlreadyExists | AdminError::Precondition(_) | AdminError::Internal(_) => {
                Self::Other(IssueError::Internal(error.into()))
            }
        }
    }
}

/// Returns the error with the field names of RFC 7591, which the caller knows.
fn of_violations(violations: &[FieldViolation]) -> RegistrationError {
    let redirect = violations.iter().any(|broken| broken.field.contains("redirect_uris"));
    let code = if redirect { "invalid_redirect_uri" } else { "invalid_client_metadata" };
    let named = violations.iter().map(|FieldViolation { field, description }| {
        let field = field.trim_start_matches("client.").replace("display_name", "client_name");
        let field = if field.starts_with("credential.public_key") { "jwks" } else { &field };
        format!("{field}: {description}")
    });
    RegistrationError::Metadata { code, description: named.collect::<Vec<_>>().join("; ") }
}
