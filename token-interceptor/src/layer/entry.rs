//! A decision, carried out: the request goes on to the service, or is answered in its place.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use tower::{BoxError, Service};

use super::{
    body::Guard,
    decision::{Decision, Shared},
    future::ResponseFuture,
};
use crate::mark::{self, Stage};

impl Shared {
    /// Lets the request through to `service`, or answers in its place.
    pub(super) fn enter<S, B, RB>(
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
        match decision {
            Decision::Open => ResponseFuture::open(service.call(request)),
            Decision::Allowed(caller, ending) => {
                self.count_allowed();
                let span =
                    tracing::info_span!("authorized", client_id = caller.client_id(), jti = caller.token().token_id());
                let until_answered = ending.as_ref().is_some_and(|ending| ending.until_answered);
                let guard =
                    ending.map(|ending| Guard::new(Arc::clone(self), caller.clone(), ending.audience, &request));
                request.extensions_mut().insert(caller);
                let future = span.in_scope(|| service.call(request));
                ResponseFuture::guarded(future, guard, until_answered, span)
            }
            Decision::Denied(denied, caller) => {
                let grpc = is_grpc(request.headers());
                let mut response = self.answer(&denied, caller, grpc);
                if grpc && mark::is_renewable(denied.reason()) {
                    mark::put(response.headers_mut(), Stage::BeforeHandler, request.uri().path());
                }
                ResponseFuture::refused(response)
            }
        }
    }
}

pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
