//! The credentials that a client presented, not verified yet. RFC 6749 section 2.3.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};
use token_interceptor::urn;

use super::{assertion::UnverifiedAssertion, basic::Basic};
use crate::error::{AuthenticationFailure, IssueError};

/// A claimed identity and its proof, by exactly one method.
pub enum PresentedClient {
    /// `client_secret_basic` or `client_secret_post`.
    Secret {
        /// The claimed client ID.
        client_id: String,
        /// The presented secret.
        secret: SecretString,
    },
    /// `private_key_jwt`.
    Assertion(UnverifiedAssertion),
}

impl PresentedClient {
    /// The claimed client ID, for the log and for counting failures.
    #[must_use]
    pub fn claimed_id(&self) -> &str {
        match self {
            Self::Secret { client_id, .. } => client_id,
            Self::Assertion(assertion) => assertion.claimed_id(),
        }
    }
}

impl PresentedClient {
    /// The secret in the clear, if the method has one.
    #[must_use]
    pub(crate) fn secret(&self) -> Option<&str> {
        match self {
            Self::Secret { secret, .. } => Some(secret.expose_secret()),
            Self::Assertion(_) => None,
        }
    }
}

impl fmt::Debug for PresentedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresentedClient").field("client_id", &self.claimed_id()).finish_non_exhaustive()
    }
}

/// The parts of a request that concern client authentication. Each may be absent.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) basic: Option<Basic>,
    pub(crate) client_id: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) assertion_type: Option<String>,
    pub(crate) assertion: Option<String>,
}

impl Parts {
    /// Returns the one method that the request uses.
    ///
    /// # Errors
    ///
    /// `invalid_request` for two methods or half of one (RFC 6749 section 2.3: "the client MUST NOT use more
    /// than one"). `invalid_client` if there is none.
    pub(crate) fn into_presented(self) -> Result<PresentedClient, IssueError> {
        let Self { basic, client_id, secret, assertion_type, assertion } = self;
        let assertion = match (assertion_type, assertion) {
            (None, None) => None,
            (Some(kind), Some(assertion)) if kind == urn::JWT_BEARER_ASSERTION => Some(assertion),
            (Some(_), Some(_)) => return Err(failed(AuthenticationFailure::UnsupportedMethod)),
            (Some(_), None) | (None, Some(_)) => {
                return Err(IssueError::invalid_request("client_assertion and client_assertion_type belong together."));
            }
        };
        match (basic, secret, assertion) {
            (Some(basic), None, None) => {
                if client_id.is_some_and(|client_id| client_id != basic.client_id) {
                    return Err(IssueError::invalid_request("client_id contradicts the authorization header."));
                }
                Ok(PresentedClient::Secret { client_id: basic.client_id, secret: basic.secret })
            }
            (None, Some(secret), None) => {
                let client_id = client_id.ok_or(IssueError::invalid_request("client_id is missing."))?;
                Ok(PresentedClient::Secret { client_id, secret: secret.into() })
            }
            (None, None, Some(assertion)) => {
                let assertion = UnverifiedAssertion::parse(assertion, client_id.as_deref());
                assertion.map(PresentedClient::Assertion).map_err(failed)
            }
            (None, None, None) => Err(failed(AuthenticationFailure::Missing)),
            (Some(_), ..) | (None, Some(_), Some(_)) => {
                Err(IssueError::invalid_request("More than one method of client authentication is used."))
            }
        }
    }
}

fn failed(failure: AuthenticationFailure) -> IssueError {
    IssueError::ClientAuthenticationFailed(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(client_id: &str) -> Option<Basic> {
        Some(Basic { client_id: client_id.to_owned(), secret: "s".into() })
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn rejects_two_methods_at_once() {
        let assertion =
            |parts: Parts| Parts { assertion_type: text(urn::JWT_BEARER_ASSERTION), assertion: text("j"), ..parts };
        for parts in [
            Parts { basic: basic("a"), client_id: text("a"), secret: text("s"), ..Parts::default() },
            Parts { basic: basic("a"), secret: text("s"), ..Parts::default() },
            assertion(Parts { basic: basic("a"), ..Parts::default() }),
            assertion(Parts { client_id: text("a"), secret: text("s"), ..Parts::default() }),
        ] {
            assert!(matches!(parts.into_presented(), Err(IssueError::InvalidRequest(_))));
        }
    }

    #[test]
    fn client_id_beside_basic_must_agree() {
        let agreeing = Parts { basic: basic("a"), client_id: text("a"), ..Parts::default() };
        assert_eq!(agreeing.into_presented().unwrap().claimed_id(), "a");
        let contradicting = Parts { basic: basic("a"), client_id: text("b"), ..Parts::default() };
        assert!(matches!(contradicting.into_presented(), Err(IssueError::InvalidRequest(_))));
    }

    #[test]
    fn no_method_is_a_failed_authentication() {
        let parts = Parts { client_id: text("a"), ..Parts::default() };
        assert!(matches!(
            parts.into_presented(),
            Err(IssueError::ClientAuthenticationFailed(AuthenticationFailure::Missing))
        ));
    }

    #[test]
    fn half_a_method_is_a_bad_request() {
        for parts in [
            Parts { secret: text("s"), ..Parts::default() },
            Parts { assertion: text("j"), ..Parts::default() },
            Parts { assertion_type: text(urn::JWT_BEARER_ASSERTION), ..Parts::default() },
        ] {
            assert!(matches!(parts.into_presented(), Err(IssueError::InvalidRequest(_))));
        }
    }

    #[test]
    fn debug_is_censored() {
        let presented = PresentedClient::Secret { client_id: "a".into(), secret: "swordfish".into() };
        assert!(!format!("{presented:?}").contains("swordfish"));
    }
}
