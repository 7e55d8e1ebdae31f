//! The data stored beside a client that has registered itself. RFC 7591, RFC 7592.

use std::{collections::BTreeSet, time::SystemTime};

use serde::{Deserialize, Deserializer, Serialize};

use super::{AuthenticationMethod, SecretHash};
use crate::timestamp;

/// The data with which a self-registered client manages its registration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// The hash of its registration access token. RFC 7592 section 2.
    pub token: SecretHash,
    /// The metadata that the client has given about itself.
    pub details: RegistrationDetails,
    /// The time from which the token is rejected.
    #[serde(default, with = "timestamp::optional", skip_serializing_if = "Option::is_none")]
    pub token_expire_time: Option<SystemTime>,
    /// The fields of the client that an operator has set, by their names in the `.proto`. The client may
    /// narrow them, and never widen them.
    #[serde(default, alias = "grants_set_by_operator", deserialize_with = "fields")]
    pub set_by_operator: BTreeSet<String>,
}

impl Registration {
    /// Returns true if an operator has set the field.
    #[must_use]
    pub fn is_set(&self, field: &str) -> bool {
        self.set_by_operator.contains(field)
    }
}

/// Reads the field names, or the older format: one flag for the grants.
fn fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Known {
        Grants(bool),
        Fields(BTreeSet<String>),
    }
    Ok(match Known::deserialize(deserializer)? {
        Known::Grants(true) => ["grants".to_owned()].into(),
        Known::Grants(false) => BTreeSet::new(),
        Known::Fields(fields) => fields,
    })
}

/// Metadata of RFC 7591 section 2 that decide nothing here. They are returned when the registration is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationDetails {
    /// The name of the initial access token that it registered with: that token bounds the client.
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
