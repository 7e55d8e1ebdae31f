//! tonic's errors for unreadable messages, replaced by this project's own.
//!
//! Every error of this server carries details (`google.rpc.ErrorInfo`). If they are missing and the code is
//! one that tonic's framing and codec use, the message never reached a handler. It was garbage, truncated,
//! too long, or had a wrong compression flag. That is the caller's mistake, not INTERNAL.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use token_issuer::origin::{Origin, Peer, REQUEST_ID};
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::grpc::status;

/// A layer that answers unreadable messages with INVALID_ARGUMENT.
#[derive(Clone, Debug)]
pub(crate) struct Framing;

impl<S> Layer<S> for Framing {
    type Service = Framed<S>;

    fn layer(&self, inner: S) -> Framed<S> {
        Framed { inner }
    }
}

/// A service that blames unreadable messages on their sender.
#[derive(Clone, Debug)]
pub(crate) struct Framed<S> {
    inner: S,
}

impl<S, A, B> Service<Request<A>> for Framed<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    B: Default,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = FramedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let request_id = request.headers().get(REQUEST_ID).cloned();
        FramedFuture { inner: self.inner.call(request), request_id }
    }
}

pin_project! {
    /// Inspects the head of the response.
    pub(crate) struct FramedFuture<F> {
        #[pin]
        inner: F,
        request_id: Option<HeaderValue>,
    }
}

impl<F, B, E> Future for FramedFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        if !is_of_framing(response.headers()) {
            return Poll::Ready(Ok(response));
        }
        let headers = this.request_id.take().map(|id| (REQUEST_ID, id)).into_iter().collect();
        let origin = Origin::new(Peer::UNKNOWN, &headers);
        Poll::Ready(Ok(status::unreadable_message(&origin).into_http()))
    }
}

/// Returns true for a response without a body that this server did not write.
fn is_of_framing(head: &HeaderMap) -> bool {
    let Some(code) = head.get(Status::GRPC_STATUS) else { return false };
    let code = Code::from_bytes(code.as_bytes());
    matches!(code, Code::Internal | Code::OutOfRange | Code::Unknown) && !head.contains_key(Status::GRPC_STATUS_DETAILS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: Status) -> HeaderMap {
        status.into_http::<()>().headers().clone()
    }

    #[test]
    fn codes_of_the_codec_without_details_are_of_framing() {
        for status in [Status::internal("x"), Status::out_of_range("x"), Status::unknown("x")] {
            assert!(is_of_framing(&head(status)));
        }
    }

    #[test]
    fn an_error_of_ours_stays_what_it_is() {
        let origin = crate::connection::unknown_origin();
        let reason = token_proto::token::v1::ErrorReason::Internal;
        assert!(!is_of_framing(&head(status::with_reason(reason, "x", &origin, None))));
    }

    #[test]
    fn other_codes_and_good_answers_stay_what_they_are() {
        assert!(!is_of_framing(&head(status::not_offered())));
        assert!(!is_of_framing(&head(Status::unavailable("x"))));
        assert!(!is_of_framing(&HeaderMap::new()));
    }
}
