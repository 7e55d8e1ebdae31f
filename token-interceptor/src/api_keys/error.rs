//! The error of API keys that cannot be registered.

use std::fmt;

/// The error of API keys that cannot be registered. It names no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyError(String);

impl ApiKeyError {
    pub(super) fn new(fault: impl Into<String>) -> Self {
        Self(fault.into())
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ApiKeyError {}
