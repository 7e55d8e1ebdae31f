//! A response that ends when the token does.
//!
//! A call is authorized once, when it begins; but a stream may go on for hours, and nobody would notice that
//! its token has expired meanwhile. So a response that is still going on at `exp` plus leeway
//! ends with TOKEN_EXPIRED. The first frame of data always passes: a unary answer that took its time is not
//! a stream. A call whose client sends a stream ends before it is answered, too.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Response, header::CONTENT_TYPE};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::body::Body;
use tower::BoxError;

use super::decision::Shared;
use crate::{
    caller::Caller,
    error::{Denied, Unverified, VerifyError},
};

/// The clock is looked at again after this long at the latest: the machine may have been suspended, or its
/// clock set, and no stream may outlive its token by more than this. The price is one look at two clocks per
/// second for each stream that has nothing to send.
const DOZE_MAX: Duration = Duration::from_secs(1);

/// When a call has to end.
pub(super) struct Guard {
    shared: Arc<Shared>,
    caller: Caller,
    grpc: bool,
    /// Only a call that has to be waited for needs one.
    timer: Option<Pin<Box<Sleep>>>,
}

pin_project! {
    /// The response body of [`Authorization`](super::Authorization).
    pub struct GuardedBody<RB> {
        #[pin]
        state: State<RB>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<RB> {
        Inner {
            #[pin]
            body: RB,
            guard: Option<Guard>,
            began: bool,
        },
        Refused { #[pin] body: Body },
        Ended,
    }
}

impl<RB> GuardedBody<RB> {
    pub(super) fn new(body: RB, guard: Option<Guard>) -> Self {
        Self { state: State::Inner { body, guard, began: false } }
    }

    pub(super) fn refused(body: Body) -> Self {
        Self { state: State::Refused { body } }
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
        let mut state = self.project().state;
        let end = match state.as_mut().project() {
            StateProjection::Ended => return Poll::Ready(None),
            StateProjection::Refused { body } => {
                return body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)));
            }
            StateProjection::Inner { body, guard, began } => match body.poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match guard {
                    Some(guard) if frame.is_data() && *began && guard.left().is_none() => guard.end(),
                    Some(_) | None => {
                        *began = true;
                        return Poll::Ready(Some(Ok(frame)));
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    let Some(guard) = guard else { return Poll::Pending };
                    ready!(guard.poll_expired(cx));
                    guard.end()
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

impl Guard {
    pub(super) fn new(shared: Arc<Shared>, caller: Caller, grpc: bool) -> Self {
        Self { shared, caller, grpc, timer: None }
    }

    /// How long the token has left, by the clock of the day; `None` once it has expired.
    fn left(&self) -> Option<Duration> {
        let now: SystemTime = self.shared.now();
        let end = self.caller.expires_at().checked_add(self.shared.leeway())?;
        end.duration_since(now).ok().filter(|left| !left.is_zero())
    }

    /// Ready once the token has expired.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(left) = self.left() else { return Poll::Ready(()) };
            let doze = left.min(DOZE_MAX);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(doze)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(tokio::time::Instant::now() + doze);
        }
    }

    /// The answer to a call that has none yet.
    pub(super) fn refuse(&self) -> Response<Body> {
        self.shared.answer(&expired(), self.grpc)
    }

    /// The end of the stream: trailers in gRPC, in HTTP a body that breaks off.
    fn end(&self) -> Result<Frame<Bytes>, BoxError> {
        let answer = self.refuse();
        if !self.grpc {
            return Err(expired().into());
        }
        let mut trailers = answer.into_parts().0.headers;
        trailers.remove(CONTENT_TYPE);
        Ok(Frame::trailers(trailers))
    }
}

fn expired() -> Denied {
    VerifyError::from(Unverified::Expired).into()
}
