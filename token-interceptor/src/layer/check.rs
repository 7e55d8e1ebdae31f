//! The program's own rule, which decides after the policy.

use std::{fmt, sync::Arc};

use http::{Request, request::Parts};

use super::decision::Verdict;
use crate::{caller::Caller, error::Denied};

type Rule = dyn Fn(&Caller, &Parts) -> Result<(), Denied> + Send + Sync;

/// The rules of [`AuthorizationLayer::check`](super::AuthorizationLayer::check), in order.
#[derive(Clone)]
pub(super) struct Check(Arc<Rule>);

impl Check {
    pub(super) fn new(rule: impl Fn(&Caller, &Parts) -> Result<(), Denied> + Send + Sync + 'static) -> Self {
        Self(Arc::new(rule))
    }

    /// Returns both: `self` decides first.
    pub(super) fn and(self, next: Self) -> Self {
        Self::new(move |caller, parts| (self.0)(caller, parts).and_then(|()| (next.0)(caller, parts)))
    }

    /// Returns the verdict on a request, and the request.
    pub(super) fn of<B>(&self, verdict: Verdict, request: Request<B>) -> (Verdict, Request<B>) {
        let Verdict::Allowed(caller) = verdict else { return (verdict, request) };
        let (parts, body) = request.into_parts();
        let verdict = match (self.0)(&caller, &parts) {
            Ok(()) => Verdict::Allowed(caller),
            Err(denied) => Verdict::Denied(denied, Some(caller)),
        };
        (verdict, Request::from_parts(parts, body))
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}
