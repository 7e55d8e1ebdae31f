//! What is kept of a client that has registered itself, beside the client. RFC 7591, RFC 7592.

use serde::{Deserialize, Serialize};

use super::{AuthenticationMethod, SecretHash};

/// How a client that has registered itself manages its registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Of its registration access token. RFC 7592 section 2.
    pub token: SecretHash,
    /// What it has said about itself.
    pub details: RegistrationDetails,
    /// Whether an operator has changed what it may ask for: then it may narrow that, and get nothing back.
    #[serde(default)]
    pub grants_set_by_operator: bool,
}

/// Metadata of RFC 7591 section 2 that decide nothing here, and are told to whoever reads the registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDetails {
    /// The name of the initial access token that it registered with: what it may become is decided by that one.
    pub registered_with: String,
    /// `token_endpoint_auth_method`
    pub authentication_method: AuthenticationMethod,
    /// `client_uri`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_uri: Option<String>,
    /// `software_id`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_id: Option<String>,
    /// `software_version`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub software_version: Option<String>,
}
