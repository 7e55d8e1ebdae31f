//! OAuth names of the grant types.

use std::fmt;

use serde::{Deserialize, Serialize};
use token_interceptor::urn;

/// A grant that a client may use. RFC 6749 section 1.3, RFC 8693 section 2.1.
///
/// Exhaustive: the token endpoint must decide about a new grant before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GrantType {
    /// RFC 6749 section 4.4.
    #[serde(rename = "client_credentials")]
    ClientCredentials,
    /// RFC 8693.
    #[serde(rename = "urn:ietf:params:oauth:grant-type:token-exchange")]
    TokenExchange,
}

impl GrantType {
    /// Every grant type.
    pub const ALL: [Self; 2] = [Self::ClientCredentials, Self::TokenExchange];

    /// The name as `grant_type` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => urn::TOKEN_EXCHANGE,
        }
    }

    /// Returns the grant type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grant_type| grant_type.name() == name)
    }
}

impl fmt::Display for GrantType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_name_is_the_name_on_the_wire() {
        for grant_type in GrantType::ALL {
            assert_eq!(serde_json::to_value(grant_type).unwrap(), grant_type.name());
            assert_eq!(GrantType::from_name(grant_type.name()), Some(grant_type));
        }
        assert_eq!(GrantType::from_name("password"), None);
    }
}
