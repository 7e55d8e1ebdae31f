//! The author of a change, and the scopes that the author may hand out.

use std::{collections::BTreeSet, time::SystemTime};

use super::{ADMIN_AUDIENCE, AdminError};
use crate::{client::Client, store::AdminRecord};

/// The originator of a change.
#[derive(Clone, Debug)]
pub struct Operator {
    name: String,
    subject: Option<String>,
    act: Option<String>,
    request_id: Option<String>,
    /// Scopes of the admin API; `None` for an operator with direct access to the database.
    scopes: Option<BTreeSet<String>>,
}

impl Operator {
    /// Creates the operator for a caller of the admin API: a client, with the scopes of its token.
    pub fn caller<'a>(client_id: &str, scopes: impl IntoIterator<Item = &'a str>, request_id: &str) -> Self {
        Self {
            name: client_id.to_owned(),
            subject: None,
            act: None,
            request_id: Some(request_id.to_owned()),
            scopes: Some(scopes.into_iter().map(str::to_owned).collect()),
        }
    }

    /// Records that the caller acts for another subject: `sub` of its token, and `act` if present.
    #[must_use]
    pub fn on_behalf_of(mut self, subject: &str, act: Option<String>) -> Self {
        self.subject = Some(subject.to_owned());
        self.act = act;
        self
    }

    /// Creates the operator for a client that registers itself with the initial access token of that name. It
    /// hands out no scope of the admin API, even if that token would allow it. The audit shows it as
    /// `registration:name`.
    pub fn registration(name: &str, request_id: &str) -> Self {
        Self::caller(&format!("registration:{name}"), [], request_id)
    }

    /// Creates an operator with direct access to the database, which allows every change anyway. The audit
    /// shows it as `local:name`.
    #[must_use]
    pub fn local(name: &str) -> Self {
        Self { name: format!("local:{name}"), subject: None, act: None, request_id: None, scopes: None }
    }

    pub(super) fn record(
        &self,
        now: SystemTime,
        action: &str,
        resource: &str,
        detail: impl Into<String>,
    ) -> AdminRecord {
        AdminRecord {
            time: now,
            actor: self.name.clone(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            request_id: self.request_id.clone(),
            detail: detail.into(),
            subject: self.subject.clone(),
            act: self.act.clone(),
            revokes: None,
        }
    }

    /// Rejects a change of rights or credentials that exceeds the operator's own scopes. Any other change,
    /// such as a new name, hands out nothing.
    pub(super) fn expect_may_change(&self, before: &Client, after: &Client) -> Result<(), AdminError> {
        let harmless =
            Client { display_name: before.display_name.clone(), labels: before.labels.clone(), ..after.clone() };
        if harmless == *before {
            return Ok(());
        }
        self.expect_may_hand_out(before)?;
        self.expect_may_hand_out(after)
    }

    /// Rejects an operator who has fewer admin scopes than the client. Such an operator may not create or
    /// change the client, or get its credentials: `clients.write` would otherwise imply every other scope.
    pub(super) fn expect_may_hand_out(&self, client: &Client) -> Result<(), AdminError> {
        let Some(own) = &self.scopes else { return Ok(()) };
        let handed_out = client.grant(ADMIN_AUDIENCE).map(|grant| &grant.scopes);
        let beyond = handed_out.into_iter().flatten().filter(|scope| !own.contains(scope.as_str()));
        let missing: Vec<_> = beyond.map(ToString::to_string).collect();
        if missing.is_empty() { Ok(()) } else { Err(AdminError::BeyondOwnScopes { missing }) }
    }
}
