//! Carries out a decision: the request goes on to the service, or is answered in its place.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tonic::body::Body;
use tower::{BoxError, Service};
use tracing::{Level, Span, level_filters::LevelFilter};

use super::{
    DeniedCall,
    body::{Guard, RequestBody, Watch},
    decision::{Decision, Shared, Verdict},
    future::ResponseFuture,
    rules::{Ending, Rule},
    wire::Wire,
};
use crate::{
    caller::Caller,
    error::Denied,
    mark::{self, Stage},
};

impl Shared {
    /// Passes the request to `service`, or answers in its place.
    pub(super) fn enter<S, B, RB>(
        self: &Arc<Self>,
        Decision { rule, mut verdict }: Decision<'_>,
        service: &mut S,
        mut request: Request<B>,
    ) -> ResponseFuture<S::Future, RB, S::Error>
    where
        S: Service<Request<B>, Response = Response<RB>>,
        B: RequestBody,
        RB: http_body::Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        self.schemes.hide(request.headers_mut(), rule.observed);
        if let Some(check) = &self.check {
            (verdict, request) = check.of(verdict, request);
        }
        let admitted = match verdict {
            Verdict::Open => None,
            Verdict::Allowed(caller) => {
                rule.count_allowed();
                Some((caller, rule.ending()))
            }
            Verdict::Denied(denied, caller) if rule.observed => {
                self.report((rule, request.uri().path()), &denied, caller.as_ref());
                request.extensions_mut().insert(DeniedCall::new(denied, caller.clone()));
                caller.map(|caller| (caller, None))
            }
            Verdict::Denied(denied, caller) => {
                return ResponseFuture::refused(self.refuse(rule, denied, caller, &request));
            }
        };
        // One place for each, so that the compiler moves the request no more often than it must.
        match admitted {
            None => ResponseFuture::open(service.call(request)),
            Some((caller, ending)) => self.admit(caller, ending, service, request),
        }
    }

    /// Returns the answer in place of the service, with the mark that lets the client renew its token.
    fn refuse<B>(&self, rule: &Rule, denied: Denied, caller: Option<Caller>, request: &Request<B>) -> Response<Body> {
        let path = request.uri().path();
        let wire = Wire::of(request.headers());
        let renewable = wire != Wire::Http && mark::is_renewable(denied.reason());
        let mut response = self.answer((rule, path), denied, caller, wire);
        if renewable {
            mark::put(response.headers_mut(), Stage::BeforeHandler, path);
        }
        response
    }

    /// Passes the request of a known caller to `service`.
    fn admit<S, B, RB>(
        self: &Arc<Self>,
        caller: Caller,
        ending: Option<Ending>,
        service: &mut S,
        mut request: Request<B>,
    ) -> ResponseFuture<S::Future, RB, S::Error>
    where
        S: Service<Request<B>, Response = Response<RB>>,
        B: RequestBody,
        RB: http_body::Body<Data = Bytes>,
        RB::Error: Into<BoxError>,
    {
        let span = span_of(&caller);
        let mut guard = None;
        if let Some(ending) = ending {
            let ongoing = Arc::new(caller.ongoing());
            let (wire, path) = (Wire::of(request.headers()), request.uri().clone());
            let watched = Guard::new(Arc::clone(&ongoing), Arc::clone(self), caller.clone(), wire, path);
            guard = Some((Box::new(watched), ending.until_answered));
            if ending.request {
                let watch = Watch::new(ongoing);
                request = request.map(|body| watch.request(body));
            }
        }
        request.extensions_mut().insert(caller);
        let future = span.in_scope(|| service.call(request));
        ResponseFuture::guarded(future, guard, span)
    }
}

/// Returns the span of a call. Where no subscriber wants it, there is none: a disabled span would still look
/// for the logger of the `log` crate at each step.
fn span_of(caller: &Caller) -> Span {
    if Level::INFO > LevelFilter::current() {
        return Span::none();
    }
    tracing::info_span!("authorized", client_id = caller.client_id(), jti = caller.token().token_id())
}
