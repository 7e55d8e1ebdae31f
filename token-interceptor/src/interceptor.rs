//! The reduced form: a tonic [`Interceptor`] for one service.
//!
//! A server's interceptor does not see which method is called, and cannot wait. So it demands the same of
//! every method, and a token whose key is not held yet reads UNAVAILABLE until the fetch that it caused has
//! ended; streams do not end with their token. Where there is a choice, take the
//! [layer](crate::layer::AuthorizationLayer).

use std::{borrow::Cow, sync::Arc};

use token_proto::policy::Requirement;
use tonic::{Request, Status, service::Interceptor};

use crate::{
    bearer::bearer,
    cache::CachedVerifier,
    caller::Caller,
    error::Denied,
    policy,
    verify::{Obstacle, Verifier},
};

/// Memory for tokens that were verified before.
const CACHE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Lets a request through only with a token for one audience that meets one requirement.
#[derive(Clone, Debug)]
pub struct AuthorizationInterceptor {
    tokens: Arc<CachedVerifier>,
    audience: Cow<'static, str>,
    requirement: Arc<Requirement>,
}

impl AuthorizationInterceptor {
    /// Demands `requirement` of every call.
    #[must_use]
    pub fn new(verifier: Verifier, audience: impl Into<Cow<'static, str>>, requirement: Requirement) -> Self {
        let tokens = Arc::new(CachedVerifier::new(verifier, CACHE_BYTES_MAX));
        Self { tokens, audience: audience.into(), requirement: Arc::new(requirement) }
    }

    fn authorize(&self, request: &Request<()>) -> Result<Caller, Denied> {
        let verifier = self.tokens.verifier();
        let now = verifier.now();
        let headers = request.metadata().as_ref();
        let seen = self.tokens.verify(bearer(headers)?, &self.audience, now).map_err(Obstacle::into_error)?;
        policy::check(&self.requirement, &seen.verified, now, verifier.leeway())?;
        Ok(Caller::new(seen))
    }
}

impl Interceptor for AuthorizationInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.authorize(&request)?;
        request.extensions_mut().insert(caller);
        Ok(request)
    }
}
