//! Every token of a client, revoked at once.

use std::{sync::Arc, time::SystemTime};

use token_interceptor::clock::Clock;

use super::{AdminError, AdminRules, Operator, clients::client_id};
use crate::{client::ClientId, revocation::RevocationRegistry, store::Revocation};

/// Revocations, as operators make them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RevocationAdmin {
    revocations: RevocationRegistry,
    clock: Arc<dyn Clock>,
    rules: AdminRules,
}

impl RevocationAdmin {
    /// Puts it together.
    #[must_use]
    pub fn new(revocations: RevocationRegistry, clock: Arc<dyn Clock>, rules: AdminRules) -> Self {
        Self { revocations, clock, rules }
    }

    /// Revokes every token of a client issued before `issued_before`, now where `None`; rounded up to the
    /// second, because that is how exactly `iat` tells when a token was issued (RFC 7519 section 4.1.6).
    /// Returns the time that counts.
    ///
    /// The client need not exist: tokens outlive it.
    ///
    /// # Errors
    ///
    /// [`AdminError::Invalid`] for what is no client ID or a time to come; the store's.
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

    /// The revocation of all of the client's tokens that were issued before a time.
    pub(super) async fn of_client(&self, id: &ClientId, issued_before: SystemTime) -> Result<Revocation, AdminError> {
        // Not by today's configuration: lifetimes may have been lowered since, and another replica may have
        // others.
        let lifetime = self.revocations.longest_lifetime(self.rules.token_lifetime_max).await?;
        Ok(Revocation::of_client(id, issued_before, lifetime))
    }

    /// A revocation was stored as a part of another change: counts in this process from now on.
    pub(super) fn stored(&self, revocation: Revocation) {
        self.revocations.stored(revocation);
    }
}
