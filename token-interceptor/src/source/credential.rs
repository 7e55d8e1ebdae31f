//! The authentication of a client to an issuer. RFC 6749 section 2.3, RFC 7523 section 2.2.

use std::{fmt, sync::Arc};

use secrecy::{ExposeSecret as _, SecretString};
use token_proto::token::v1::{self, client_authentication};

use super::{SourceError, assertion::PrivateKeyJwt};
use crate::urn;

/// A client's credential. Never printed.
#[derive(Clone)]
#[non_exhaustive]
pub enum ClientCredential {
    /// `client_secret_basic` or `client_secret_post`.
    Secret(SecretString),
    /// `private_key_jwt`.
    PrivateKey(Arc<PrivateKeyJwt>),
}

impl ClientCredential {
    /// Returns the proof for `TokenService`.
    pub(super) fn for_grpc(&self, client_id: &str) -> Result<v1::ClientAuthentication, SourceError> {
        let credential = match self {
            Self::Secret(secret) => client_authentication::Credential::ClientSecret(secret.expose_secret().to_owned()),
            Self::PrivateKey(key) => client_authentication::Credential::Assertion(v1::ClientAssertion {
                r#type: urn::JWT_BEARER_ASSERTION.to_owned(),
                value: key.sign(client_id).map_err(SourceError::unavailable)?,
            }),
        };
        Ok(v1::ClientAuthentication { client_id: client_id.to_owned(), credential: Some(credential) })
    }
}

impl From<SecretString> for ClientCredential {
    fn from(secret: SecretString) -> Self {
        Self::Secret(secret)
    }
}

impl From<String> for ClientCredential {
    fn from(secret: String) -> Self {
        Self::Secret(secret.into())
    }
}

impl From<&str> for ClientCredential {
    fn from(secret: &str) -> Self {
        Self::Secret(secret.into())
    }
}

impl From<PrivateKeyJwt> for ClientCredential {
    fn from(key: PrivateKeyJwt) -> Self {
        Self::PrivateKey(Arc::new(key))
    }
}

impl fmt::Debug for ClientCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret([REDACTED])",
            Self::PrivateKey(_) => "PrivateKey([REDACTED])",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_censored_when_printed() {
        assert!(!format!("{:?}", ClientCredential::from("tks_secret")).contains("tks_"));
    }
}
