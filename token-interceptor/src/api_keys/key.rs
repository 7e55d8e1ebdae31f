//! A registered API key.

use std::time::SystemTime;

use super::KeyHash;

/// A registered API key: the client that it belongs to, its rights, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ApiKey {
    pub(super) hash: KeyHash,
    pub(super) client_id: String,
    pub(super) audiences: Vec<String>,
    pub(super) scopes: Vec<String>,
    pub(super) sunset: SystemTime,
}

impl ApiKey {
    /// Registers the key with this hash for a client, until `sunset`. It has no audience and no scope yet.
    pub fn new(hash: KeyHash, client_id: impl Into<String>, sunset: SystemTime) -> Self {
        Self { hash, client_id: client_id.into(), audiences: Vec::new(), scopes: Vec::new(), sunset }
    }

    /// Accepts the key for these audiences.
    pub fn audiences<T: Into<String>>(mut self, audiences: impl IntoIterator<Item = T>) -> Self {
        self.audiences = audiences.into_iter().map(Into::into).collect();
        self
    }

    /// Grants these scopes.
    pub fn scopes<T: Into<String>>(mut self, scopes: impl IntoIterator<Item = T>) -> Self {
        self.scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the fault of a key that cannot be registered.
    pub(super) fn fault(&self, deprecated: SystemTime) -> Option<&'static str> {
        let bad_scope = |scope: &String| scope.is_empty() || scope.contains(char::is_whitespace);
        if self.client_id.is_empty() {
            return Some("client_id is empty");
        }
        if self.audiences.is_empty() || self.audiences.iter().any(String::is_empty) {
            return Some("audiences names no audience, or an empty one");
        }
        if self.scopes.iter().any(bad_scope) {
            return Some("scopes has an empty name, or one with a space");
        }
        (self.sunset < deprecated).then_some("sunset is before deprecated (RFC 9745 section 4)")
    }
}
