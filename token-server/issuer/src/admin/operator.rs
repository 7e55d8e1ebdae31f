//! The author of a change, and what that person or program may hand out.

use std::{collections::BTreeSet, time::SystemTime};

use super::{ADMIN_AUDIENCE, AdminError};
use crate::{client::Client, store::AdminRecord};

/// Who makes a change.
#[derive(Clone, Debug)]
pub struct Operator {
    name: String,
    subject: Option<String>,
    act: Option<String>,
    request_id: Option<String>,
    /// Scopes of the admin API; `None` for whoever has the database itself.
    scopes: Option<BTreeSet<String>>,
}

impl Operator {
    /// A caller of the admin API: a client, with the scopes of its token.
    pub fn caller<'a>(client_id: &str, scopes: impl IntoIterator<Item = &'a str>, request_id: &str) -> Self {
        Self {
            name: client_id.to_owned(),
            subject: None,
            act: None,
            request_id: Some(request_id.to_owned()),
            scopes: Some(scopes.into_iter().map(str::to_owned).collect()),
        }
    }

    /// The caller acts for somebody else: `sub` of its token, and `act` where there is one.
    #[must_use]
    pub fn on_behalf_of(mut self, subject: &str, act: Option<String>) -> Self {
        self.subject = Some(subject.to_owned());
        self.act = act;
        self
    }

    /// A client that registers itself with the initial access token of that name: it hands out nothing of the
    /// admin API, whatever that token allows. Stands as `registration:name` in the audit.
    pub fn registration(name: &str, request_id: &str) -> Self {
        Self::caller(&format!("registration:{name}"), [], request_id)
    }

    /// Somebody with access to the database itself, who could change anything anyhow. Stands as `local:name`
    /// in the audit.
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

    /// A change that touches neither what a client can do nor how it proves who it is, such as to its name,
    /// hands out nothing.
    pub(super) fn expect_may_change(&self, before: &Client, after: &Client) -> Result<(), AdminError> {
        let harmless =
            Client { display_name: before.display_name.clone(), labels: before.labels.clone(), ..after.clone() };
        if harmless == *before {
            return Ok(());
        }
        self.expect_may_hand_out(before)?;
        self.expect_may_hand_out(after)
    }

    /// Nobody may make, change or get credentials of a client that can do more to this server than they can:
    /// `clients.write` would otherwise be every scope there is.
    pub(super) fn expect_may_hand_out(&self, client: &Client) -> Result<(), AdminError> {
        let Some(own) = &self.scopes else { return Ok(()) };
        let handed_out = client.grant(ADMIN_AUDIENCE).map(|grant| &grant.scopes);
        let beyond = handed_out.into_iter().flatten().filter(|scope| !own.contains(scope.as_str()));
        let missing: Vec<_> = beyond.map(ToString::to_string).collect();
        if missing.is_empty() { Ok(()) } else { Err(AdminError::BeyondOwnScopes { missing }) }
    }
}
