//! The credentials of a request, from all the places where they may be. RFC 6749 section 2.3.

use token_issuer::client_authentication::{
    assertion::{AssertionType, UnverifiedAssertion},
    presented::PresentedClient,
};
use token_issuer::error::{AuthenticationFailure, IssueError};

use super::basic::Basic;

/// The parts of a request that concern client authentication. Each may be absent.
#[derive(Default)]
pub(crate) struct CredentialFields {
    pub(crate) basic: Option<Basic>,
    pub(crate) client_id: Option<String>,
    pub(crate) secret: Option<String>,
    pub(crate) assertion_type: Option<String>,
    pub(crate) assertion: Option<String>,
}

impl CredentialFields {
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
            (Some(kind), Some(assertion)) => match AssertionType::from_name(&kind) {
                Some(kind) => Some((kind, assertion)),
                None => return Err(failed(AuthenticationFailure::UnsupportedMethod)),
            },
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
            (None, None, Some((kind, assertion))) => {
                let assertion = UnverifiedAssertion::parse(kind, assertion, client_id);
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
    use token_interceptor::urn;

    use super::*;

    fn basic(client_id: &str) -> Option<Basic> {
        Some(Basic { client_id: client_id.to_owned(), secret: "s".into() })
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn rejects_two_methods_at_once() {
        let assertion = |parts: CredentialFields| CredentialFields {
            assertion_type: text(urn::JWT_BEARER_ASSERTION),
            assertion: text("j"),
            ..parts
        };
        for parts in [
            CredentialFields {
                basic: basic("a"),
                client_id: text("a"),
                secret: text("s"),
                ..CredentialFields::default()
            },
            CredentialFields { basic: basic("a"), secret: text("s"), ..CredentialFields::default() },
            assertion(CredentialFields { basic: basic("a"), ..CredentialFields::default() }),
            assertion(CredentialFields { client_id: text("a"), secret: text("s"), ..CredentialFields::default() }),
        ] {
            assert!(matches!(parts.into_presented(), Err(IssueError::InvalidRequest(_))));
        }
    }

    #[test]
    fn client_id_beside_basic_must_agree() {
        let agreeing = CredentialFields { basic: basic("a"), client_id: text("a"), ..CredentialFields::default() };
        assert_eq!(agreeing.into_presented().unwrap().claimed_id(), "a");
        let contradicting = CredentialFields { basic: basic("a"), client_id: text("b"), ..CredentialFields::default() };
        assert!(matches!(contradicting.into_presented(), Err(IssueError::InvalidRequest(_))));
    }

    #[test]
    fn no_method_is_a_failed_authentication() {
        let parts = CredentialFields { client_id: text("a"), ..CredentialFields::default() };
        assert!(matches!(
            parts.into_presented(),
            Err(IssueError::ClientAuthenticationFailed(AuthenticationFailure::Missing))
        ));
    }

    #[test]
    fn half_a_method_is_a_bad_request() {
        for parts in [
            CredentialFields { secret: text("s"), ..CredentialFields::default() },
            CredentialFields { assertion: text("j"), ..CredentialFields::default() },
            CredentialFields { assertion_type: text(urn::JWT_BEARER_ASSERTION), ..CredentialFields::default() },
        ] {
            assert!(matches!(parts.into_presented(), Err(IssueError::InvalidRequest(_))));
        }
    }
}
