//! The credentials that a client presented, not verified yet. RFC 6749 section 2.3.

use std::fmt;

use secrecy::{ExposeSecret as _, SecretString};

use super::assertion::UnverifiedAssertion;

/// A claimed identity and its proof, by exactly one method.
///
/// Exhaustive: the server must verify a new method before it compiles.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_is_censored() {
        let presented = PresentedClient::Secret { client_id: "a".into(), secret: "swordfish".into() };
        assert!(!format!("{presented:?}").contains("swordfish"));
    }
}
