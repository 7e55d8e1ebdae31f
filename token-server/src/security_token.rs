//! A token as input of an exchange, and what it is said to be. RFC 8693 sections 2.1 and 3.

use secrecy::SecretString;

/// What a token is said to be, by one of the names of RFC 8693 section 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// An access token of this issuer.
    AccessToken,
    /// An ID token of an identity provider.
    IdToken,
    /// A JWT: an access token of this issuer, or whatever JWT an identity provider is trusted for.
    Jwt,
}

impl TokenType {
    /// Its URN.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "urn:ietf:params:oauth:token-type:access_token",
            Self::IdToken => "urn:ietf:params:oauth:token-type:id_token",
            Self::Jwt => "urn:ietf:params:oauth:token-type:jwt",
        }
    }

    /// The type of that URN.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::AccessToken, Self::IdToken, Self::Jwt].into_iter().find(|kind| kind.name() == name)
    }
}

/// A subject or actor token. Nothing in it is believed.
#[derive(Debug)]
pub struct SecurityToken {
    /// The token in compact form.
    pub value: SecretString,
    /// What it is said to be.
    pub kind: TokenType,
}
