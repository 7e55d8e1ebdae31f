//! The record of a denied call, for audit layers.

use token_proto::token::v1::ErrorReason;

use crate::{
    caller::Caller,
    error::{Denied, Detail},
};

/// A denied call: in the extensions of each answer by which the layer refuses. For layers around it.
#[derive(Clone, Debug)]
pub struct DeniedCall {
    reason: ErrorReason,
    detail: &'static str,
    member: Option<Detail>,
    caller: Option<Caller>,
}

impl DeniedCall {
    pub(super) fn new(denied: &Denied, caller: Option<Caller>) -> Self {
        let member = denied.member().cloned();
        Self { reason: denied.reason(), detail: denied.label(), member, caller }
    }

    /// Returns the reason that the caller sees.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.reason
    }

    /// Returns the failed check: one of a closed set, and not for the caller.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.detail
    }

    /// Returns the member of the token that the check compared, if any. Not for the caller.
    #[must_use]
    pub fn member(&self) -> Option<&Detail> {
        self.member.as_ref()
    }

    /// Returns the refused caller, if the token itself is valid.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
}
