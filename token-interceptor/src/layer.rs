//! The server side: the request path, from the header fields to the handler.
//!
//! `policy` → `bearer` → `cache` (→ `verify`) → requirement → [`Caller`] in the extensions → handler; the way
//! out of each is an answer of `status`. The layer goes around a tonic server
//! (`Server::builder().layer(…)`) or an axum router alike: what speaks gRPC gets a gRPC status, everything
//! else 401, 403 or 503 with a challenge and a small JSON object.

mod body;
mod future;

use std::{
    borrow::Cow,
    mem,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use metrics::Counter;
use token_proto::policy::{Requirement, StreamExpiry};
use tonic::body::Body;
use tower::{BoxError, Layer, Service};

use body::Guard;
pub use body::GuardedBody;
pub use future::ResponseFuture;

use crate::{
    bearer::bearer,
    cache::CachedVerifier,
    caller::Caller,
    error::Denied,
    policy::{self, Demand, Policy, TokenDemand},
    status::Answer,
    verify::{KeyWait, Obstacle, Verifier},
};

/// Memory for tokens that were verified before, unless told otherwise: some 20,000 of them.
const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Fetches of keys that one call waits for.
const FETCHES_AWAITED_MAX: usize = 2;

/// A [`tower::Layer`] that lets a request through only with a token that meets what its method demands.
#[derive(Clone, Debug)]
pub struct AuthorizationLayer(Arc<Shared>);

/// A service behind an [`AuthorizationLayer`].
#[derive(Clone, Debug)]
pub struct Authorization<S> {
    inner: S,
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    tokens: CachedVerifier,
    rules: Rules,
    allowed: OnceLock<Counter>,
}

#[derive(Debug)]
enum Rules {
    /// What the path says.
    ByMethod(Policy),
    /// The same for every request.
    Same(TokenDemand),
}

/// What becomes of a request.
enum Decision {
    /// The method is open: whatever came with the request was not looked at.
    Open,
    Allowed(Caller, Ends),
    Denied(Denied),
}

/// What ends when the token does.
#[derive(Clone, Copy)]
enum Ends {
    /// Nothing: authorized once, when the call began.
    Nothing,
    /// The response, if it still goes on.
    Response,
    /// The call, answered or not: its client sends a stream.
    Call,
}

impl AuthorizationLayer {
    /// Demands of each method what `policy` says; what it does not name is denied, token or no token.
    #[must_use]
    pub fn new(verifier: Verifier, policy: Policy) -> Self {
        Self::with(verifier, Rules::ByMethod(policy), CACHE_BYTES_MAX)
    }

    /// Demands the same of every request: for HTTP routes, whose paths no `.proto` declares.
    #[must_use]
    pub fn requiring(verifier: Verifier, audience: impl Into<Cow<'static, str>>, requirement: Requirement) -> Self {
        Self::with(verifier, Rules::Same(TokenDemand::new(audience.into(), requirement)), CACHE_BYTES_MAX)
    }

    /// Spends this much memory on tokens that were verified before; 0 verifies every token anew.
    #[must_use]
    pub fn cache_bytes_max(self, cache_bytes_max: u64) -> Self {
        match Arc::try_unwrap(self.0) {
            Ok(shared) => Self::with(shared.tokens.into_verifier(), shared.rules, cache_bytes_max),
            // A layer that is in use already keeps what it has.
            Err(shared) => Self(shared),
        }
    }

    fn with(verifier: Verifier, rules: Rules, cache_bytes_max: u64) -> Self {
        let tokens = CachedVerifier::new(verifier, cache_bytes_max);
        Self(Arc::new(Shared { tokens, rules, allowed: OnceLock::new() }))
    }
}

impl<S> Layer<S> for AuthorizationLayer {
    type Service = Authorization<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorization { inner, shared: Arc::clone(&self.0) }
    }
}

impl<S, B, RB> Service<Request<B>> for Authorization<S>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    RB: http_body::Body<Data = Bytes> + Send + 'static,
    RB::Error: Into<BoxError>,
{
    type Response = Response<GuardedBody<RB>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, RB, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.shared.decide(&request) {
            Ok(decision) => self.shared.enter(decision, &mut self.inner, request),
            Err(wait) => {
                // The service that was made ready is the one to call: tower's contract.
                let next = self.inner.clone();
                let ready = mem::replace(&mut self.inner, next);
                ResponseFuture::waiting(call_with_key(Arc::clone(&self.shared), ready, request, wait))
            }
        }
    }
}

/// For the first tokens of a key that is not held yet.
async fn call_with_key<S, B, RB>(
    shared: Arc<Shared>,
    mut service: S,
    request: Request<B>,
    mut wait: KeyWait,
) -> Result<Response<GuardedBody<RB>>, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>>,
    RB: http_body::Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    let mut decision = Decision::Denied(wait.given_up().into());
    for _ in 0..FETCHES_AWAITED_MAX {
        if let Err(error) = shared.tokens.verifier().key_arrives(wait).await {
            decision = Decision::Denied(error.into());
            break;
        }
        match shared.decide(&request) {
            Ok(decided) => {
                decision = decided;
                break;
            }
            Err(again) => wait = again,
        }
    }
    shared.enter(decision, &mut service, request).await
}

impl Shared {
    /// Decides, unless the token's key has to be waited for.
    fn decide<B>(&self, request: &Request<B>) -> Result<Decision, KeyWait> {
        let demand = match &self.rules {
            Rules::Same(demand) => demand,
            Rules::ByMethod(policy) => match policy.demand(request.uri().path()) {
                Ok(Demand::Token(demand)) => demand,
                Ok(Demand::Open) => return Ok(Decision::Open),
                Err(denied) => return Ok(Decision::Denied(denied)),
            },
        };
        match self.authorize(demand, request.headers(), self.now()) {
            Ok(caller) => Ok(Decision::Allowed(caller, demand.ends())),
            Err(Verdict::Denied(denied)) => Ok(Decision::Denied(denied)),
            Err(Verdict::Wait(wait)) => Err(wait),
        }
    }

    fn authorize(&self, demand: &TokenDemand, headers: &HeaderMap, now: SystemTime) -> Result<Caller, Verdict> {
        let token = bearer(headers)?;
        let seen = self.tokens.verify(token, &demand.audience, now)?;
        policy::check(&demand.requirement, &seen.verified, now, self.leeway())?;
        Ok(Caller::new(seen))
    }

    /// Lets the request through to `service`, or answers in its place.
    fn enter<S, B, RB>(
        self: &Arc<Self>,
        decision: Decision,
        service: &mut S,
        mut request: Request<B>,
    ) -> ResponseFuture<S::Future, RB, S::Error>
    where
        S: Service<Request<B>, Response = Response<RB>>,
        RB: http_body::Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        let grpc = is_grpc(request.headers());
        match decision {
            Decision::Open => ResponseFuture::open(service.call(request)),
            Decision::Allowed(caller, ends) => {
                self.count_allowed();
                let span =
                    tracing::info_span!("authorized", client_id = caller.client_id(), jti = caller.token().token_id());
                let guard = || Guard::new(Arc::clone(self), caller.clone(), grpc);
                let (guard, until_answered) = match ends {
                    Ends::Nothing => (None, false),
                    Ends::Response => (Some(guard()), false),
                    Ends::Call => (Some(guard()), true),
                };
                request.extensions_mut().insert(caller);
                let future = span.in_scope(|| service.call(request));
                ResponseFuture::guarded(future, guard, until_answered, span)
            }
            Decision::Denied(denied) => self.refuse(&denied, grpc),
        }
    }

    fn refuse<F, RB, E>(&self, denied: &Denied, grpc: bool) -> ResponseFuture<F, RB, E> {
        ResponseFuture::refused(self.answer(denied, grpc))
    }

    fn answer(&self, denied: &Denied, grpc: bool) -> Response<Body> {
        tracing::debug!(reason = denied.label(), detail = %denied, "a call is refused");
        metrics::counter!("token_decisions_total", "outcome" => "denied", "reason" => denied.label()).increment(1);
        let answer = Answer::from(denied);
        if grpc { answer.into_status().into_http() } else { answer.into_http() }
    }

    fn now(&self) -> SystemTime {
        self.tokens.verifier().now()
    }

    fn leeway(&self) -> Duration {
        self.tokens.verifier().leeway()
    }

    /// The counter is looked up once: a program installs its recorder before it serves.
    fn count_allowed(&self) {
        self.allowed
            .get_or_init(|| metrics::counter!("token_decisions_total", "outcome" => "allowed", "reason" => "ok"))
            .increment(1);
    }
}

impl TokenDemand {
    fn ends(&self) -> Ends {
        match self.requirement.stream_expiry {
            StreamExpiry::Allow => Ends::Nothing,
            StreamExpiry::Close if self.client_streaming => Ends::Call,
            StreamExpiry::Close => Ends::Response,
        }
    }
}

/// Why a request is not let through, at least not yet.
enum Verdict {
    Denied(Denied),
    Wait(KeyWait),
}

impl From<Denied> for Verdict {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Obstacle> for Verdict {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Refused(error) => Self::Denied(error.into()),
            Obstacle::KeyOnItsWay(wait) => Self::Wait(wait),
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
