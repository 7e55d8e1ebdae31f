//! The decision on a request: each step in order, and the answer to a refused caller.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::body::Body;

use super::{
    DeniedCall,
    check::Check,
    fixed::Fixed,
    rules::{Rule, Rules},
    schemes::Schemes,
    wire::Wire,
};
use crate::{
    bearer::bearer,
    caller::Caller,
    error::{Denial, Denied},
    ongoing::{Evidence, Terms},
    policy::{self, Demand, TokenDemand},
    status::Answer,
    throttle::Throttle,
    verify::{KeyWait, Obstacle, Verifier},
};

#[derive(Clone, Debug)]
pub(super) struct Shared {
    verifier: Verifier,
    pub(super) rules: Rules,
    /// The URL that tells a caller where to get a token.
    resource_metadata: Option<Arc<str>>,
    fixed: Fixed,
    /// The program's own rule.
    pub(super) check: Option<Check>,
    pub(super) schemes: Schemes,
    lines: Arc<Throttle>,
}

/// The decision on a request.
pub(super) struct Decision<'a> {
    pub(super) rule: &'a Rule,
    pub(super) verdict: Verdict,
}

pub(super) enum Verdict {
    /// The method is open, and there is no caller.
    Open,
    Allowed(Caller),
    /// Denied. The caller is known where the token is valid and only the method demands more.
    Denied(Denied, Option<Caller>),
}

/// The reason that a request is not decided at once.
pub(super) enum Wait {
    /// The token's key is being fetched.
    Key(KeyWait),
    /// The credential is that of another scheme.
    Scheme,
}

impl Shared {
    pub(super) fn new(verifier: Verifier, rules: Rules) -> Self {
        let (resource_metadata, fixed) = (None, Fixed::new(None));
        let schemes = Schemes::default();
        Self { verifier, rules, resource_metadata, fixed, check: None, schemes, lines: Arc::default() }
    }

    /// Names the service's metadata in every challenge.
    pub(super) fn set_resource(&mut self, metadata_url: &str) {
        self.resource_metadata = Some(metadata_url.into());
        self.fixed = Fixed::new(self.resource_metadata.as_ref());
    }

    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Decides, unless the token's key or another scheme has to be waited for.
    pub(super) fn decide<B>(&self, request: &Request<B>) -> Result<Decision<'_>, Wait> {
        let rule = self.rules.of(request.uri().path());
        let verdict = match &rule.demand {
            Demand::Open => Verdict::Open,
            Demand::Undeclared => Verdict::Denied(Denial::MethodNotDeclared.into(), None),
            Demand::Identify(_) | Demand::Token(_) if self.schemes.apply_to(request.headers()) => {
                return Err(Wait::Scheme);
            }
            Demand::Identify(_) if !request.headers().contains_key(AUTHORIZATION) => Verdict::Open,
            Demand::Identify(demand) | Demand::Token(demand) => {
                self.authorize(demand, request.headers(), self.now()).map_err(Wait::Key)?
            }
        };
        Ok(Decision { rule, verdict })
    }

    /// Returns the decision to deny a request.
    pub(super) fn deny<B>(&self, request: &Request<B>, denied: Denied) -> Decision<'_> {
        Decision { rule: self.rules.of(request.uri().path()), verdict: Verdict::Denied(denied, None) }
    }

    fn authorize(&self, demand: &Arc<TokenDemand>, headers: &HeaderMap, now: SystemTime) -> Result<Verdict, KeyWait> {
        let token = match bearer(headers) {
            Ok(token) => token,
            Err(denied) => return Ok(Verdict::Denied(denied, None)),
        };
        let seen = match self.verifier.verify_once(token, &demand.audience, now) {
            Ok(seen) => seen,
            Err(Obstacle::Refused(error)) => return Ok(Verdict::Denied(error.into(), None)),
            Err(Obstacle::KeyOnItsWay(wait)) => return Err(wait),
        };
        let caller =
            Caller::new(Evidence::Token(seen), Terms { verifier: self.verifier.clone(), demand: Arc::clone(demand) });
        Ok(match policy::check(&demand.requirement, caller.token(), now, self.leeway()) {
            Ok(()) => Verdict::Allowed(caller),
            Err(denied) => Verdict::Denied(denied, Some(caller)),
        })
    }

    /// Answers a call of `path`, which has this rule, in place of the service.
    pub(super) fn answer(
        &self,
        (rule, path): (&Rule, &str),
        denied: Denied,
        caller: Option<Caller>,
        wire: Wire,
    ) -> Response<Body> {
        self.report((rule, path), &denied, caller.as_ref());
        let built = || wire.answer(Answer::from(&denied).resource_metadata(self.resource_metadata.clone()));
        let mut response = self.fixed.answer(&denied, wire).unwrap_or_else(built);
        response.extensions_mut().insert(DeniedCall::new(denied, caller));
        response
    }

    /// Counts and logs a call of `path`, which has this rule, that is denied, or would be.
    pub(super) fn report(&self, (rule, path): (&Rule, &str), denied: &Denied, caller: Option<&Caller>) {
        rule.count_denied(denied);
        self.log(rule, path, denied, caller);
    }

    /// Logs the failed check and what it compared. Bounded, as attackers can cause it.
    fn log(&self, rule: &Rule, path: &str, denied: &Denied, caller: Option<&Caller>) {
        let check = denied.label();
        let event = if rule.observed { "a call would be refused" } else { "a call is refused" };
        let Some(left_out) = self.lines.admit(self.now()) else {
            tracing::debug!(check, detail = %denied, "{event}");
            return;
        };
        let (client_id, jti) = (caller.map(Caller::client_id), caller.map(|caller| caller.token().token_id()));
        let method = rule.name(path);
        tracing::info!(check, method, detail = %denied, client_id, jti, left_out, "{event}");
    }

    pub(super) fn now(&self) -> SystemTime {
        self.verifier().now()
    }

    pub(super) fn leeway(&self) -> Duration {
        self.verifier().leeway()
    }
}
