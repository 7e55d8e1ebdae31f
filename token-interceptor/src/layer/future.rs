//! The future of a request: admitted, refused, or waiting for a key.

use std::{
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;
use tonic::body::Body;
use tracing::Span;

use super::body::{Guard, GuardedBody};
use crate::mark;

type Waiting<RB, E> = Pin<Box<dyn Future<Output = Result<Response<GuardedBody<RB>>, E>> + Send>>;

pin_project! {
    /// The future of [`Authorization`](super::Authorization).
    pub struct ResponseFuture<F, RB, E> {
        #[pin]
        state: State<F, RB, E>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F, RB, E> {
        Inner { #[pin] future: F, guard: Option<(Box<Guard>, bool)>, span: Span },
        Refused { response: Option<Response<Body>> },
        Waiting { future: Waiting<RB, E> },
    }
}

impl<F, RB, E> ResponseFuture<F, RB, E> {
    pub(super) fn open(future: F) -> Self {
        Self::guarded(future, None, Span::none())
    }

    /// A guard comes with true if it may end the call before it is answered. It is boxed, so that a call
    /// without one stays small.
    pub(super) fn guarded(future: F, guard: Option<(Box<Guard>, bool)>, span: Span) -> Self {
        Self { state: State::Inner { future, guard, span } }
    }

    pub(super) fn refused(response: Response<Body>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }

    pub(super) fn waiting(future: impl Future<Output = Result<Response<GuardedBody<RB>>, E>> + Send + 'static) -> Self {
        Self { state: State::Waiting { future: Box::pin(future) } }
    }
}

impl<F, RB, E> Future for ResponseFuture<F, RB, E>
where
    F: Future<Output = Result<Response<RB>, E>>,
{
    type Output = Result<Response<GuardedBody<RB>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Inner { future, guard, span } => {
                if let Poll::Ready(answered) = span.in_scope(|| future.poll(cx)) {
                    let span = mem::replace(span, Span::none());
                    return Poll::Ready(answered.map(|mut response| {
                        // The mark belongs to the layer, so a handler must not set it.
                        mark::remove(response.headers_mut());
                        response.map(|body| GuardedBody::new(body, guard.take().map(|(guard, _)| guard), span))
                    }));
                }
                let _entered = span.enter();
                let Some((guard, true)) = guard else { return Poll::Pending };
                let denied = ready!(guard.poll_ended(cx));
                Poll::Ready(Ok(guard.refuse(denied).map(GuardedBody::refused)))
            }
            StateProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response.map(GuardedBody::refused))),
                // Polled after completion, which the contract of `Future` forbids.
                None => Poll::Pending,
            },
            StateProjection::Waiting { future } => future.as_mut().poll(cx),
        }
    }
}
