//! Decisions at the doors that this project's own server layer guards: the admin API, and where proxies ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use token_interceptor::{caller::Caller, layer::Refusal};
use token_proto::token::v1::ErrorReason;

use super::{TARGET, cleaned};
use crate::origin::Origin;

/// Characters of a client's, a key's or a method's name that are written: longer than any good one.
const RESOURCE_CHARS_MAX: usize = 256;

/// One decision, and where the request comes from.
#[derive(Clone, Copy)]
pub(crate) struct Guarded<'a> {
    /// Where the request comes from.
    pub(crate) origin: &'a Origin,
    /// What was asked for.
    pub(crate) operation: &'a str,
    /// What it was asked for: a client, a key, a method.
    pub(crate) resource: Option<&'a str>,
}

/// One event, at `$level`; `$why` are the fields of a refusal.
macro_rules! event {
    ($level:ident, $guarded:ident, $outcome:ident, $caller:ident $(, $why:ident)*) => {{
        let Guarded { origin, operation, resource } = $guarded;
        let resource = resource.map(|resource| cleaned(resource, RESOURCE_CHARS_MAX));
        tracing::$level!(
            target: TARGET,
            operation,
            outcome = $outcome,
            client_id = $caller.map(Caller::client_id),
            subject = $caller.and_then(subject),
            jti = $caller.map(|caller| caller.token().token_id()),
            resource = resource.as_deref(),
            $($why,)*
            peer = %origin.peer(),
            request_id = origin.request_id().as_str(),
        );
    }};
}

impl Guarded<'_> {
    /// It was done, or may be.
    pub(crate) fn granted(self, outcome: &'static str, caller: Option<&Caller>) {
        event!(info, self, outcome, caller);
    }

    /// The layer refused it.
    pub(crate) fn denied(self, refusal: &Refusal) {
        let ours = matches!(refusal.reason(), ErrorReason::TrustUnavailable | ErrorReason::Internal);
        let outcome = if ours { "failed" } else { "refused" };
        self.refused(outcome, (refusal.reason().as_reason(), Some(refusal.detail())), refusal.caller());
    }

    /// It was refused, or could not be done.
    pub(crate) fn refused(
        self,
        outcome: &'static str,
        (reason, detail): (&str, Option<&'static str>),
        caller: Option<&Caller>,
    ) {
        event!(warn, self, outcome, caller, reason, detail);
    }
}

/// For whom the client calls, where that is somebody else.
fn subject(caller: &Caller) -> Option<&str> {
    (caller.subject() != caller.client_id()).then(|| caller.subject())
}

/// What is learnt of a request while it is answered: in its extensions, shared with whoever keeps the record.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry(Arc<Mutex<Known>>);

/// Who asks, and for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) caller: Option<Caller>,
    pub(crate) resource: Option<String>,
}

impl Entry {
    /// Who asks.
    pub(crate) fn by(&self, caller: &Caller) {
        self.lock().caller = Some(caller.clone());
    }

    /// For what.
    pub(crate) fn about(&self, resource: &str) {
        self.lock().resource = (!resource.is_empty()).then(|| resource.to_owned());
    }

    /// What is known so far.
    pub(crate) fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
