//! Revocation of every token of a client.

use std::{sync::Arc, time::SystemTime};

use token_interceptor::clock::Clock;

use super::{AdminError, AdminRules, Operator, clients::client_id};
use crate::{client::ClientId, revocation::RevocationRegistry, store::Revocation};

/// Access to revocation for operators. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RevocationAdmin {
    revocations: RevocationRegistry,
    clock: Arc<dyn Clock>,
    rules: AdminRules,
}

impl RevocationAdmin {
    /// Creates a `RevocationAdmin`.
    #[must_use]
    pub fn new(revocations: RevocationRegistry, clock: Arc<dyn Clock>, rules: AdminRules) -> Self {
        Self { revocations, clock, rules }
    }

    /// Revokes every token of a client issued before `issued_before`, by default now. The time is rounded up
    /// to the second, which is the precision of `iat` (RFC 7519 section 4.1.6). Returns the rounded time.
    ///
    /// The client need not exist: tokens outlive it.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for a malformed client ID or a time in the future; the store's.
    pub async fn revoke_client_tokens(
        &self,
        by: &Operator,
        id: &str,
        issued_before: Option<SystemTime>,
    ) -> Result<SystemTime, AdminError> {
        let (id, now) = (client_id(id, "client_id")?, self.clock.now());
        let issued_before = issued_before.unwrap_or(now);
        if issued_before > now {
            return Err(AdminError::invalid("issued_before_time", "it is in the future"));
        }
        let revocation = self.of_client(&id, issued_before).await?;
        let revoked_before = revocation.revoked_before;
        let detail = format!("issued before {}", humantime::format_rfc3339_seconds(revoked_before));
        let record = by.record(now, "RevokeClientTokens", id.as_str(), detail);
        self.revocations.revoke(revocation, Some(&record)).await?;
        Ok(revoked_before)
    }

    /// Returns the revocation of all of the client's tokens issued before a time.
    pub(super) async fn of_client(&self, id: &ClientId, issued_before: SystemTime) -> Result<Revocation, AdminError> {
        // The current configuration is not enough: lifetimes may have been lowered, and may differ on another
        // replica.
        let lifetime = self.revocations.longest_lifetime(self.rules.token_lifetime_max).await?;
        Ok(Revocation::of_client(id, issued_before, lifetime))
    }

    /// Applies a revocation that was stored as part of another change in this process.
    pub(super) fn stored(&self, revocation: Revocation) {
        self.revocations.stored(revocation);
    }
}
