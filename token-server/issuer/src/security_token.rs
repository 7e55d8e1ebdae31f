//! Tokens presented for exchange, with their declared type. RFC 8693 sections 2.1 and 3.

use secrecy::SecretString;
use token_interceptor::urn;

/// The declared type of a token, by the names of RFC 8693 section 3.
///
/// Exhaustive: the exchange must decide about a new type before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An access token of this issuer.
    AccessToken,
    /// An ID token of an identity provider.
    IdToken,
    /// A JWT: an access token of this issuer, or any JWT of a trusted identity provider.
    Jwt,
}

impl TokenType {
    /// The URN of the type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => urn::ACCESS_TOKEN,
            Self::IdToken => urn::ID_TOKEN,
            Self::Jwt => urn::JWT,
        }
    }

    /// Returns the type with that URN.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AccessToken, Self::IdToken, Self::Jwt].into_iter().find(|kind| kind.name() == name)
    }
}

/// A subject or actor token that has not been verified.
#[derive(Debug)]
pub struct SecurityToken {
    /// The token in compact form.
    pub value: SecretString,
    /// The declared type.
    pub kind: TokenType,
}
