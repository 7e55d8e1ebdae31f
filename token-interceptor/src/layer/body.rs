//! Bodies that end when the token does, in both directions.
//!
//! A response that goes on past `exp` plus leeway ends with TOKEN_EXPIRED. One whose token or key is revoked
//! ends with that reason, within a second. The first frame of its data always passes: a slow unary answer is
//! not a stream. A call whose client sends a stream may end before it is answered.
//!
//! The request body ends by the same verdict. If only the response ended, the client's half would stay open
//! for as long as a handler reads it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, Uri, header::CONTENT_TYPE};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::{Status, body::Body};
use tower::BoxError;
use tracing::Span;

use super::{decision::Shared, wire::Wire};
use crate::{
    caller::Caller,
    error::Denied,
    mark::{self, Stage},
    ongoing::Ongoing,
};

/// A request body that the layer can end: the body types of tonic and of axum.
pub trait RequestBody: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + Sized + 'static {
    /// Returns `body` as this type, in place of another body.
    fn of<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>;
}

impl RequestBody for Body {
    fn of<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::new(body)
    }
}

impl RequestBody for axum_core::body::Body {
    fn of<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self::new(body)
    }
}

/// The deadline of one half of a call.
pub(super) struct Watch {
    ongoing: Arc<Ongoing>,
    /// A timer is created only for a call that has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

/// The end of a call, and the refusal that the caller gets then.
pub(super) struct Guard {
    watch: Watch,
    shared: Arc<Shared>,
    caller: Caller,
    wire: Wire,
    /// The method's path, for the mark of a refusal.
    path: Uri,
}

pin_project! {
    /// The response body of [`Authorization`](super::Authorization).
    pub struct GuardedBody<RB> {
        #[pin]
        state: State<RB>,
        span: Span,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<RB> {
        Inner {
            #[pin]
            body: RB,
            guard: Option<Box<Guard>>,
            began: bool,
        },
        Refused { #[pin] body: Body },
        Ended,
    }
}

pin_project! {
    /// The body of a request whose client sends a stream.
    struct GuardedRequest<B> {
        #[pin]
        body: B,
        watch: Watch,
    }
}

impl<RB> GuardedBody<RB> {
    /// `span` is entered whenever the body is polled, so that a handler's stream runs in it.
    pub(super) fn new(body: RB, guard: Option<Box<Guard>>, span: Span) -> Self {
        Self { state: State::Inner { body, guard, began: false }, span }
    }

    pub(super) fn refused(body: Body) -> Self {
        Self { state: State::Refused { body }, span: Span::none() }
    }
}

impl<RB> http_body::Body for GuardedBody<RB>
where
    RB: http_body::Body<Data = Bytes>,
    RB::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let _entered = this.span.enter();
        let mut state = this.state;
        let end = match state.as_mut().project() {
            StateProjection::Ended => return Poll::Ready(None),
            StateProjection::Refused { body } => {
                return body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)));
            }
            StateProjection::Inner { body, guard, began } => match body.poll_frame(cx) {
                Poll::Ready(Some(Ok(mut frame))) => match guard {
                    Some(watching) if frame.is_data() && *began => match watching.watch.ongoing.look() {
                        Ok(_) => return Poll::Ready(Some(Ok(frame))),
                        Err(denied) => match watching.end(denied) {
                            Some(end) => end,
                            None => {
                                *guard = None;
                                return Poll::Ready(Some(Ok(frame)));
                            }
                        },
                    },
                    Some(_) | None => {
                        *began = true;
                        frame.trailers_mut().map(mark::remove);
                        return Poll::Ready(Some(Ok(frame)));
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let Some(watching) = guard else { return Poll::Pending };
                    let denied = ready!(watching.poll_ended(cx));
                    match watching.end(denied) {
                        Some(end) => end,
                        None => {
                            *guard = None;
                            return Poll::Pending;
                        }
                    }
                }
            },
        };
        state.set(State::Ended);
        Poll::Ready(Some(end))
    }

    fn is_end_stream(&self) -> bool {
        match &self.state {
            State::Inner { body, .. } => body.is_end_stream(),
            State::Refused { body } => body.is_end_stream(),
            State::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Inner { body, .. } => body.size_hint(),
            State::Refused { body } => body.size_hint(),
            State::Ended => SizeHint::with_exact(0),
        }
    }
}

impl<B> http_body::Body for GuardedRequest<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        // Checked before any data is read: after the verdict no more data passes.
        let ended = |denied: Denied| Poll::Ready(Some(Err(BoxError::from(Status::from(denied)))));
        if let Err(denied) = this.watch.ongoing.look() {
            return ended(denied);
        }
        match this.body.poll_frame(cx) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending => ended(ready!(this.watch.poll_ended(cx))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Watch {
    pub(super) fn new(ongoing: Arc<Ongoing>) -> Self {
        Self { ongoing, timer: None }
    }

    /// Wraps `body` so that it breaks off with the verdict.
    pub(super) fn request<B: RequestBody>(self, body: B) -> B {
        B::of(GuardedRequest { body, watch: self })
    }

    /// Ready once the call has to end.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Denied> {
        loop {
            let doze = match self.ongoing.look() {
                Ok(doze) => doze,
                Err(denied) => return Poll::Ready(denied),
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(doze)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(tokio::time::Instant::now() + doze);
        }
    }
}

impl Guard {
    pub(super) fn new(ongoing: Arc<Ongoing>, shared: Arc<Shared>, caller: Caller, wire: Wire, path: Uri) -> Self {
        Self { watch: Watch::new(ongoing), shared, caller, wire, path }
    }

    /// Ready once the call has to end.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Denied> {
        self.watch.poll_ended(cx)
    }

    /// Returns the answer to a call that has none yet.
    pub(super) fn refuse(&self, denied: Denied) -> Response<Body> {
        let renewable = self.wire != Wire::Http && mark::is_renewable(denied.reason());
        let path = self.path.path();
        let rule = self.shared.rules.of(path);
        let mut response = self.shared.answer((rule, path), denied, Some(self.caller.clone()), self.wire);
        if renewable {
            mark::put(response.headers_mut(), Stage::AfterHandler, self.path.path());
        }
        response
    }

    /// Returns the end of the stream: trailers in gRPC, their frame in gRPC-Web; in HTTP the body breaks off.
    /// A stream that is only observed is reported, and goes on: `None`.
    fn end(&self, denied: Denied) -> Option<Result<Frame<Bytes>, BoxError>> {
        let path = self.path.path();
        let rule = self.shared.rules.of(path);
        if rule.observed {
            self.shared.report((rule, path), &denied, Some(&self.caller));
            return None;
        }
        let text = denied.to_string();
        let mut trailers = self.refuse(denied).into_parts().0.headers;
        trailers.remove(CONTENT_TYPE);
        Some(match self.wire {
            Wire::Grpc => Ok(Frame::trailers(trailers)),
            Wire::GrpcWeb(encoding) => Ok(Frame::data(encoding.trailers(&trailers))),
            Wire::Http => Err(text.into()),
        })
    }
}
