//! The layer's little sister: a tonic `Interceptor`, which cannot wait.

use http::header::AUTHORIZATION;
use tonic::{Request, Status, service::Interceptor};

use super::answer;
use crate::refresh::FreshToken;

/// Attaches one token to every call.
///
/// Never waits: until the first token is there, calls fail with UNAVAILABLE and `ISSUER_UNAVAILABLE`. It knows
/// neither the method nor the answer, so audience and scopes are fixed, public methods get the token too, and
/// nothing is replayed. Prefer the layer.
#[derive(Clone, Debug)]
pub struct TokenInterceptor {
    token: FreshToken,
}

impl TokenInterceptor {
    pub(super) fn new(token: FreshToken) -> Self {
        // Asked for at once, where that is possible, so that the first call finds it.
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
