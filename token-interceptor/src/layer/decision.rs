//! The decision on a request: each step in order, and the answer to a refused caller.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Request, Response};
use metrics::Counter;
use token_proto::policy::{MethodKind, StreamExpiry};
use tonic::body::Body;

use super::{DeniedCall, wire::Wire};
use crate::{
    bearer::bearer,
    cache::CachedVerifier,
    caller::Caller,
    error::Denied,
    ongoing::Terms,
    policy::{self, Demand, ServedPolicy, TokenDemand},
    status::Answer,
    throttle::Throttle,
    verify::{KeyWait, Obstacle, Verifier},
};

#[derive(Debug)]
pub(super) struct Shared {
    tokens: Arc<CachedVerifier>,
    rules: Arc<Rules>,
    cache_bytes_max: u64,
    /// The URL that tells a caller where to get a token.
    resource_metadata: Option<Arc<str>>,
    allowed: OnceLock<Counter>,
    lines: Throttle,
}

#[derive(Debug)]
pub(super) enum Rules {
    /// The demand depends on the path.
    ByMethod(ServedPolicy),
    /// The same demand for every request.
    Same(Arc<TokenDemand>),
}

/// The decision on a request.
pub(super) enum Decision {
    /// The method is open. Credentials in the request are ignored.
    Open,
    /// Allowed. The second value says what ends with the token; `None` for a call that is authorized only
    /// once.
    Allowed(Caller, Option<Ending>),
    /// Denied. The caller is known where the token is valid and only the method demands more.
    Denied(Denied, Option<Caller>),
}

/// The parts of a long call that end with its token.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    /// True if the call may end before it is answered: its client sends a stream.
    pub(super) until_answered: bool,
    /// True if the request body ends too.
    pub(super) request: bool,
}

impl Shared {
    pub(super) fn new(verifier: Verifier, rules: Arc<Rules>, cache_bytes_max: u64) -> Self {
        let tokens = Arc::new(CachedVerifier::new(verifier, cache_bytes_max));
        let (allowed, lines) = (OnceLock::new(), Throttle::default());
        Self { tokens, rules, cache_bytes_max, resource_metadata: None, allowed, lines }
    }

    /// Returns a copy with another cache size.
    pub(super) fn with_cache(&self, cache_bytes_max: u64) -> Self {
        let fresh = Self::new(self.verifier().clone(), Arc::clone(&self.rules), cache_bytes_max);
        Self { resource_metadata: self.resource_metadata.clone(), ..fresh }
    }

    /// Returns a copy that names its metadata.
    pub(super) fn with_resource(&self, metadata_url: &str) -> Self {
        Self { resource_metadata: Some(metadata_url.into()), ..self.with_cache(self.cache_bytes_max) }
    }

    pub(super) fn verifier(&self) -> &Verifier {
        self.tokens.verifier()
    }

    /// Decides, unless the token's key has to be waited for.
    pub(super) fn decide<B>(&self, request: &Request<B>) -> Result<Decision, KeyWait> {
        let (demand, any_kind) = match &*self.rules {
            Rules::Same(demand) => (demand, true),
            Rules::ByMethod(policy) => match policy.demand(request.uri().path()) {
                Ok(Demand::Token(demand)) => (demand, false),
                Ok(Demand::Open) => return Ok(Decision::Open),
                Err(denied) => return Ok(Decision::Denied(denied, None)),
            },
        };
        match self.authorize(demand, request.headers(), self.now()) {
            Ok(caller) => Ok(Decision::Allowed(caller, demand.ending(any_kind))),
            Err(Verdict::Denied(denied, caller)) => Ok(Decision::Denied(denied, caller)),
            Err(Verdict::Wait(wait)) => Err(wait),
        }
    }

    fn authorize(&self, demand: &Arc<TokenDemand>, headers: &HeaderMap, now: SystemTime) -> Result<Caller, Verdict> {
        let token = bearer(headers)?;
        let terms = Terms { tokens: Arc::clone(&self.tokens), demand: Arc::clone(demand) };
        let caller = Caller::new(self.tokens.verify(token, &demand.audience, now)?, terms);
        match policy::check(&demand.requirement, caller.token(), now, self.leeway()) {
            Ok(()) => Ok(caller),
            Err(denied) => Err(Verdict::Denied(denied, Some(caller))),
        }
    }

    pub(super) fn answer(&self, denied: &Denied, caller: Option<Caller>, wire: Wire) -> Response<Body> {
        self.log(denied, caller.as_ref());
        metrics::counter!("token_decisions_total", "outcome" => "denied", "reason" => denied.label()).increment(1);
        let answer = Answer::from(denied).resource_metadata(self.resource_metadata.clone());
        let mut response = wire.answer(answer);
        response.extensions_mut().insert(DeniedCall::new(denied, caller));
        response
    }

    /// Logs the failed check and what it compared. Bounded, as attackers can cause it.
    fn log(&self, denied: &Denied, caller: Option<&Caller>) {
        let check = denied.label();
        let Some(left_out) = self.lines.admit(self.now()) else {
            tracing::debug!(check, detail = %denied, "a call is refused");
            return;
        };
        let (client_id, jti) = (caller.map(Caller::client_id), caller.map(|caller| caller.token().token_id()));
        tracing::info!(check, detail = %denied, client_id, jti, left_out, "a call is refused");
    }

    pub(super) fn now(&self) -> SystemTime {
        self.verifier().now()
    }

    pub(super) fn leeway(&self) -> Duration {
        self.verifier().leeway()
    }

    /// The counter is looked up once, so a program installs its recorder before it serves.
    pub(super) fn count_allowed(&self) {
        self.allowed
            .get_or_init(|| metrics::counter!("token_decisions_total", "outcome" => "allowed", "reason" => "ok"))
            .increment(1);
    }
}

impl TokenDemand {
    /// `any_kind`: the kind of method is unknown, so both directions may be streams.
    fn ending(&self, any_kind: bool) -> Option<Ending> {
        match self.requirement.stream_expiry {
            StreamExpiry::Allow => None,
            // One message is no stream, even if it takes long.
            StreamExpiry::Close if self.kind == MethodKind::Unary => None,
            StreamExpiry::Close => {
                let until_answered = self.kind.is_client_streaming();
                Some(Ending { until_answered, request: any_kind || until_answered })
            }
        }
    }
}

/// The reason that a request is not admitted, at least not yet.
enum Verdict {
    Denied(Denied, Option<Caller>),
    Wait(KeyWait),
}

impl From<Denied> for Verdict {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied, None)
    }
}

impl From<Obstacle> for Verdict {
    fn from(obstacle: Obstacle) -> Self {
        match obstacle {
            Obstacle::Refused(error) => Self::Denied(error.into(), None),
            Obstacle::KeyOnItsWay(wait) => Self::Wait(wait),
        }
    }
}
