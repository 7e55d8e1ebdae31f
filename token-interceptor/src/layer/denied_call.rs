//! The record of a denied call, for audit layers and for handlers behind a layer that observes.

use token_proto::token::v1::ErrorReason;

use crate::{
    caller::Caller,
    error::{Denied, Detail},
};

/// A denied call: in the extensions of each answer by which the layer refuses, for layers around it.
///
/// A layer that only [observes](super::AuthorizationLayer::observe) puts it into the extensions of each
/// request that it would refuse. The caller beside it has a valid token, but the method demands more.
#[derive(Clone, Debug)]
pub struct DeniedCall {
    denied: Denied,
    caller: Option<Caller>,
}

impl DeniedCall {
    pub(super) fn new(denied: Denied, caller: Option<Caller>) -> Self {
        Self { denied, caller }
    }

    /// Returns the error, which converts into the [`tonic::Status`] that the caller gets.
    #[must_use]
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    /// Returns the reason that the caller sees.
    #[must_use]
    pub fn reason(&self) -> ErrorReason {
        self.denied.reason()
    }

    /// Returns the failed check: one of a closed set, or the name of a rule of the program's own. Not for the
    /// caller.
    #[must_use]
    pub fn detail(&self) -> &'static str {
        self.denied.label()
    }

    /// Returns the member of the token that the check compared, if any. Not for the caller.
    #[must_use]
    pub fn member(&self) -> Option<&Detail> {
        self.denied.member()
    }

    /// Returns the refused caller, if the token itself is valid.
    #[must_use]
    pub fn caller(&self) -> Option<&Caller> {
        self.caller.as_ref()
    }
}
