//! The reduced form of the layer: a tonic [`Interceptor`] for one service.
//!
//! A server's interceptor does not see the called method, and cannot wait. So it has one requirement for
//! every method. A token whose key is not cached reads UNAVAILABLE until the key set has been fetched.
//! Streams do not end with their token. It has no scheme but `Bearer`. Prefer the
//! [layer](crate::layer::AuthorizationLayer).

use std::{borrow::Cow, sync::Arc};

use token_proto::policy::{MethodKind, Requirement};
use tonic::{Request, Status, service::Interceptor};

use crate::{
    bearer::bearer,
    caller::Caller,
    error::Denied,
    ongoing::{Evidence, Terms},
    policy::{self, TokenDemand},
    throttle::Throttle,
    verify::{Obstacle, Verifier},
};

/// Admits only requests with a token for one audience that meets one requirement.
#[derive(Clone, Debug)]
pub struct AuthorizationInterceptor {
    terms: Terms,
    lines: Arc<Throttle>,
}

impl AuthorizationInterceptor {
    /// Demands `requirement` of every call.
    #[must_use]
    pub fn new(verifier: Verifier, audience: impl Into<Cow<'static, str>>, requirement: Requirement) -> Self {
        // An interceptor does not see the method or its kind.
        let demand = TokenDemand { audience: audience.into(), requirement, kind: MethodKind::Unary };
        Self { terms: Terms { verifier, demand: Arc::new(demand) }, lines: Arc::default() }
    }

    fn authorize(&self, request: &Request<()>) -> Result<Caller, Denied> {
        let Terms { verifier, demand } = &self.terms;
        let (now, headers) = (verifier.now(), request.metadata().as_ref());
        let seen = verifier.verify_once(bearer(headers)?, &demand.audience, now).map_err(Obstacle::into_error)?;
        policy::check(&demand.requirement, &seen.verified, now, verifier.leeway())?;
        Ok(Caller::new(Evidence::Token(seen), self.terms.clone()))
    }
}

impl Interceptor for AuthorizationInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.authorize(&request).inspect_err(|denied| {
            if let Some(left_out) = self.lines.admit(self.terms.verifier.now()) {
                tracing::info!(check = denied.label(), detail = %denied, left_out, "a call is refused");
            }
        })?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}
