//! OAuth names of the methods of client authentication. RFC 7591 section 2, RFC 8414 section 2.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The method by which a client authenticates. It is the same at every endpoint.
///
/// Exhaustive: registration must handle a new method before it compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthenticationMethod {
    /// A secret in `authorization: Basic`. RFC 6749 section 2.3.1.
    ClientSecretBasic,
    /// A secret among the parameters. RFC 6749 section 2.3.1.
    ClientSecretPost,
    /// A signed assertion. RFC 7523 section 2.2.
    PrivateKeyJwt,
}

impl AuthenticationMethod {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::ClientSecretBasic, Self::ClientSecretPost, Self::PrivateKeyJwt];

    /// The name as `token_endpoint_auth_method` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
        }
    }

    /// Returns the method with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.name() == name)
    }
}

impl fmt::Display for AuthenticationMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_name_is_the_name_on_the_wire() {
        for method in AuthenticationMethod::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
            assert_eq!(AuthenticationMethod::from_name(method.name()), Some(method));
        }
        assert_eq!(AuthenticationMethod::from_name("none"), None);
    }
}
