//! Audit events of the APIs that our own server layer protects: the admin API and the proxies' authorization
//! API.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use token_interceptor::{caller::Caller, layer::DeniedCall};
use token_proto::token::v1::ErrorReason;

use super::{TARGET, cleaned};
use crate::origin::Origin;

/// The maximum number of characters of a logged client ID, key ID or method name. Longer than any valid one.
const RESOURCE_CHARS_MAX: usize = 256;

/// One authorization decision, with the origin of the request.
#[derive(Clone, Copy)]
pub struct Guarded<'a> {
    /// The origin of the request.
    pub origin: &'a Origin,
    /// The requested operation.
    pub operation: &'a str,
    /// The object of the operation: a client, a key or a method.
    pub resource: Option<&'a str>,
}

/// Emits one event at `$level`. `$why` are the extra fields of a refusal.
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
    /// Logs that the operation was done or permitted.
    pub fn granted(self, outcome: &'static str, caller: Option<&Caller>) {
        event!(info, self, outcome, caller);
    }

    /// Logs that the authorization layer rejected the request.
    pub fn denied(self, refusal: &DeniedCall) {
        let ours = matches!(refusal.reason(), ErrorReason::TrustUnavailable | ErrorReason::Internal);
        let outcome = if ours { "failed" } else { "refused" };
        self.refused(outcome, (refusal.reason().as_reason(), Some(refusal.detail())), refusal.caller());
    }

    /// Logs that the operation was rejected or failed.
    pub fn refused(
        self,
        outcome: &'static str,
        (reason, detail): (&str, Option<&'static str>),
        caller: Option<&Caller>,
    ) {
        event!(warn, self, outcome, caller, reason, detail);
    }
}

/// The subject that the client acts for, if it is not the client itself.
fn subject(caller: &Caller) -> Option<&str> {
    (caller.subject() != caller.client_id()).then(|| caller.subject())
}

/// The facts collected about a request while it is processed. Stored in its extensions and shared with the
/// audit layer.
#[derive(Clone, Debug, Default)]
pub struct Entry(Arc<Mutex<Known>>);

/// The caller and the object of the request.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub caller: Option<Caller>,
    pub resource: Option<String>,
}

impl Entry {
    /// Sets the caller.
    pub fn by(&self, caller: &Caller) {
        self.lock().caller = Some(caller.clone());
    }

    /// Sets the object of the request.
    pub fn about(&self, resource: &str) {
        self.lock().resource = (!resource.is_empty()).then(|| resource.to_owned());
    }

    /// Returns the facts collected so far.
    pub fn known(&self) -> Known {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
