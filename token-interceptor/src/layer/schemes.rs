//! The schemes beside `Bearer` that a layer accepts, and the verdict on their credentials.
//!
//! A layer without a scheme pays one look at an empty list. A request with such a credential takes the slow
//! path, as a scheme may have to wait for its backend.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tower::{BoxError, Service};

use super::{
    body::{GuardedBody, RequestBody},
    decision::{Decision, Shared, Verdict},
    rules::Rule,
};
use crate::{
    caller::Caller,
    error::{Denial, Denied},
    ongoing::{Evidence, Terms},
    policy::{self, Demand, PolicyError, TokenDemand},
    scheme::{Asked, Authenticate, CredentialPlace, Presented, judge},
    token::UnverifiedToken,
};

/// The time for which a call waits for a scheme. A key is waited for less, but a scheme may retry.
const SCHEME_WAIT_MAX: Duration = Duration::from_secs(5);
/// The retry delay of a caller whose credential was not decided in that time.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The installed schemes.
#[derive(Clone, Debug, Default)]
pub(super) struct Schemes(Vec<Installed>);

#[derive(Clone, Debug)]
struct Installed {
    place: CredentialPlace,
    scheme: Arc<dyn Authenticate>,
}

/// The credential of a request, and the scheme that reads it.
struct Found {
    presented: Presented,
    scheme: Arc<dyn Authenticate>,
}

impl Schemes {
    pub(super) fn install(&mut self, scheme: Arc<dyn Authenticate>) -> Result<(), PolicyError> {
        let place = scheme.place();
        let taken = self.0.iter().find(|installed| installed.place.is_same(&place));
        let taken = taken.map(|installed| format!("the scheme {} reads the same place", installed.scheme.name()));
        let fault = place.fault().map(str::to_owned).or(taken);
        let faults = fault.map(|fault| format!("the scheme {}: {fault}", scheme.name()));
        PolicyError::or(faults.into_iter().collect(), ())?;
        self.0.push(Installed { place, scheme });
        Ok(())
    }

    /// Returns true if a request has a credential of one of them, valid or not.
    pub(super) fn apply_to(&self, headers: &HeaderMap) -> bool {
        self.0.iter().any(|installed| installed.place.is_in(headers))
    }

    /// Removes the credentials from a request. While the layer only observes, the service may still check
    /// them by itself: then they stay, and `Debug` does not print them.
    pub(super) fn hide(&self, headers: &mut HeaderMap, observed: bool) {
        for Installed { place, .. } in &self.0 {
            if observed { place.censor(headers) } else { place.remove(headers) }
        }
    }

    /// Finds the only credential of a request. A request with two is rejected: a proxy may judge one, and
    /// this layer the other.
    fn find(&self, headers: &HeaderMap) -> Result<Found, Denied> {
        let mut present = self.0.iter().filter(|installed| installed.place.is_in(headers));
        let Some(Installed { place, scheme }) = present.next() else { return Err(Denial::CredentialsMissing.into()) };
        let beside_it = !place.is_in_authorization() && headers.contains_key(AUTHORIZATION);
        if present.next().is_some() || beside_it {
            return Err(Denial::CredentialsSeveral.into());
        }
        Ok(Found { presented: place.of(headers)?, scheme: Arc::clone(scheme) })
    }
}

/// The slow path of a request with the credential of a scheme.
pub(super) async fn call_with_scheme<S, B, RB>(
    shared: Arc<Shared>,
    mut service: S,
    request: Request<B>,
) -> Result<Response<GuardedBody<RB>>, S::Error>
where
    S: Service<Request<B>, Response = Response<RB>>,
    B: RequestBody,
    RB: http_body::Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    let rule = shared.rules.of(request.uri().path());
    let found = shared.schemes.find(request.headers());
    let (verdict, notices) = shared.judge_by_scheme(rule, found).await;
    let mut response = shared.enter(Decision { rule, verdict }, &mut service, request).await?;
    response.headers_mut().extend(notices);
    Ok(response)
}

impl Shared {
    /// Returns the verdict, and the header fields that the scheme adds to the answer.
    async fn judge_by_scheme(&self, rule: &Rule, found: Result<Found, Denied>) -> (Verdict, HeaderMap) {
        let demand = match &rule.demand {
            Demand::Open => return (Verdict::Open, HeaderMap::new()),
            Demand::Undeclared => {
                return (Verdict::Denied(Denial::MethodNotDeclared.into(), None), HeaderMap::new());
            }
            Demand::Identify(demand) | Demand::Token(demand) => demand,
        };
        match found {
            Ok(found) => self.judge(demand, &found).await,
            Err(denied) => (Verdict::Denied(denied, None), HeaderMap::new()),
        }
    }

    async fn judge(&self, demand: &Arc<TokenDemand>, found: &Found) -> (Verdict, HeaderMap) {
        let (scheme, asked) = (&found.scheme, Asked::new(&demand.audience, self.now()));
        let credential = UnverifiedToken::new(found.presented.text());
        let answer = tokio::time::timeout(SCHEME_WAIT_MAX, scheme.authenticate(credential, &asked)).await;
        let late = |_| Err(Denied::unavailable("scheme_timed_out", RETRY_AFTER, "the scheme did not answer in time"));
        let mut identity = match answer.unwrap_or_else(late) {
            Ok(identity) => identity,
            Err(denied) => return (Verdict::Denied(denied, None), HeaderMap::new()),
        };
        let notices = identity.take_notices();
        let verdict = match judge(identity, scheme.name(), self.verifier(), &asked) {
            Err(denied) => Verdict::Denied(denied, None),
            Ok(identified) => {
                let terms = Terms { verifier: self.verifier().clone(), demand: Arc::clone(demand) };
                let caller = Caller::new(Evidence::Scheme(Arc::new(identified)), terms);
                match policy::check(&demand.requirement, caller.token(), asked.now, self.leeway()) {
                    Ok(()) => Verdict::Allowed(caller),
                    Err(denied) => Verdict::Denied(denied, Some(caller)),
                }
            }
        };
        (verdict, notices)
    }
}
