//! Operations on clients and keys by operators: checked, stored and audited. The gRPC admin API and the
//! commands that work on the store directly share them.

mod audit;
mod check;
mod clients;
mod credentials;
mod draft;
mod keys;
mod generate;
mod operator;
mod page;
mod registrations;
mod revocations;

pub use audit::{AuditAdmin, AuditPage};
pub use clients::{AdminRules, ClientAdmin, ClientUpdate, CreatedClient, Page};
pub(crate) use credentials::CREDENTIALS;
pub use credentials::{AddedCredential, CREDENTIALS_MAX, NewCredential, NewCredentialKind};
pub use draft::{ClientDraft, ClientField, GrantDraft};
pub use keys::KeyAdmin;
pub use operator::Operator;
pub use registrations::{RegisteredClient, SelfRegistration};
pub use revocations::RevocationAdmin;

use crate::{key::SigningKeyError, store::StoreError};

/// The audience of tokens for the admin API itself, as its `.proto` files declare it.
pub const ADMIN_AUDIENCE: &str = "m2m.admin.v1";

/// The reason for which a change or a query was rejected. Its `Display` text is shown to the operator.
///
/// Exhaustive: the admin API must answer a new reason before it compiles.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The request breaks rules. All broken rules are listed.
    #[error("{}", sentence(.0))]
    Invalid(Vec<FieldViolation>),
    /// There is no such client, credential or key.
    #[error("There is no such {0}.")]
    NotFound(&'static str),
    /// The client ID is taken.
    #[error("A client with this ID already exists.")]
    AlreadyExists,
    /// The client has changed since it was read.
    #[error("The client has changed since it was read; read it again and repeat the change.")]
    EtagMismatch,
    /// The initial access token has reached its limit of clients.
    #[error("This initial access token has reached its limit of clients.")]
    TooManyClients,
    /// The change would leave the issuer unable to work.
    #[error("{0}")]
    Precondition(String),
    /// The operator would hand out scopes that the operator does not have.
    #[error("The client has scopes of the admin API that your own token does not have: {}.", missing.join(" "))]
    BeyondOwnScopes {
        /// The scopes that the operator lacks.
        missing: Vec<String>,
    },
    /// The store is unreachable.
    #[error("The store is unreachable; nothing is known to have changed.")]
    Unavailable(#[source] StoreError),
    /// A bug, or damaged data.
    #[error("Internal error.")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// The field's path, by the names of the `.proto`: `client.grants[1].audience`.
    pub field: String,
    /// The rule that the field breaks.
    pub description: String,
}

impl AdminError {
    /// Returns the error for one field.
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![FieldViolation { field: field.into(), description: description.into() }])
    }
}

fn sentence(violations: &[FieldViolation]) -> String {
    let broken: Vec<_> = violations.iter().map(|broken| format!("{}: {}", broken.field, broken.description)).collect();
    broken.join("; ")
}

impl From<StoreError> for AdminError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::NotFound("client"),
            StoreError::AlreadyExists => Self::AlreadyExists,
            StoreError::RevisionMismatch => Self::EtagMismatch,
            StoreError::ReadOnly => Self::Precondition(
                "This server's clients are declared in a file. Change the file, and the server reloads it.".to_owned(),
            ),
            StoreError::Unavailable(_) | StoreError::Busy => Self::Unavailable(error),
            StoreError::Corrupt(_) => Self::Internal(error.into()),
        }
    }
}

impl From<SigningKeyError> for AdminError {
    fn from(error: SigningKeyError) -> Self {
        match error {
            SigningKeyError::NotFound => Self::NotFound("key"),
            SigningKeyError::Store(error) => error.into(),
            SigningKeyError::LastKey | SigningKeyError::AlgorithmNotConfigured | SigningKeyError::Signature(_) => {
                Self::Precondition(format!("{error}."))
            }
            SigningKeyError::SealingKeyUnknown { .. }
            | SigningKeyError::SealBroken { .. }
            | SigningKeyError::Reused { .. }
            | SigningKeyError::NotPem
            | SigningKeyError::NoRandomness => Self::Internal(error.into()),
        }
    }
}

impl From<ring::error::Unspecified> for AdminError {
    fn from(_: ring::error::Unspecified) -> Self {
        SigningKeyError::NoRandomness.into()
    }
}

#[cfg(test)]
mod tests;
