//! What whoever keeps a record learns of a refusal.

use token_proto::token::v1::ErrorReason;

use crate::{
    caller::Caller,
    error::{Denied, Detail},
};

/// In the extensions of every answer by which the layer refuses, for layers around it.
#[derive(Clone, Debug)]
pub struct Refusal {
    reason: ErrorReason,
    detail: &'static str,
    member: Option<Detail>,
    caller: Option<Caller>,
}

impl Refusal {
    pub(super) fn new(denied: &Denied, caller: Option<Caller>) -> Self {
        let member = denied.member().cloned();
        Self { reason: denied.reason(), detail: denied.label(), member, caller }
    }

    /// What the caller is told.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// Which check failed: one of a closed set, and not for the caller.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail
    }

    /// The member of the token that the check compared, where there is one; not for the caller.
    #[must_use]
    pub fn member(&self) -> Option<&Detail> {
        self.member.as_ref()
    }

    /// Who was refused, where the token itself is a good one.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
}
