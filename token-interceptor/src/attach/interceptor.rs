//! The reduced form of the layer: a tonic `Interceptor`, which cannot wait.

use http::header::AUTHORIZATION;
use tonic::{Request, Status, service::Interceptor};

use super::answer;
use crate::refresh::FreshToken;

/// Attaches one token to every call.
///
/// It never waits: until the first token arrives, calls fail with UNAVAILABLE and `ISSUER_UNAVAILABLE`. It
/// sees neither the method nor the answer. So audience and scopes are fixed, public methods get the token
/// too, and no call is sent twice. Prefer the layer.
#[derive(Clone, Debug)]
pub struct TokenInterceptor {
    token: FreshToken,
}

impl TokenInterceptor {
    pub(super) fn new(token: FreshToken) -> Self {
        // Requested at once if possible, so that the first call finds it.
        let _ = token.now();
        Self { token }
    }
}

impl Interceptor for TokenInterceptor {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = self.token.now().map_err(|error| answer::no_token(&error).into_status())?;
        request.metadata_mut().as_mut().insert(AUTHORIZATION, token.into_header());
        Ok(request)
    }
}
