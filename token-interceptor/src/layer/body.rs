//! A response that ends when the token does.
//!
//! A call is authorized once, when it begins; but a stream may go on for hours, and nobody would notice that
//! its token has expired meanwhile, or was revoked. So a response that is still going on at `exp` plus leeway
//! ends with TOKEN_EXPIRED, and one whose token or key was taken back with that reason, within a second. The first
//! frame of data always passes: a unary answer that took its time is not a stream. A call whose client sends a
//! stream ends before it is answered, too. That nobody can judge the token at the moment ends nothing.

use std::{
    borrow::Cow,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{Request, Response, Uri, header::CONTENT_TYPE};
use http_body::{Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::body::Body;
use tower::BoxError;

use super::{decision::Shared, entry::is_grpc};
use crate::{
    caller::Caller,
    error::{Denied, Unverified, VerifyError},
    mark::{self, Stage},
};

/// The clock is looked at again after this long at the latest: the machine may have been suspended, or its
/// clock set, and no stream may outlive its token by more than this. The price is one look at two clocks, and at
/// the verified token, per second for each stream.
const DOZE_MAX: Duration = Duration::from_secs(1);
/// A stream that is never idle looks at its token no more often than this.
const LOOK_APART: Duration = Duration::from_millis(500);

/// When a call has to end.
pub(super) struct Guard {
    shared: Arc<Shared>,
    caller: Caller,
    audience: Cow<'static, str>,
    grpc: bool,
    /// The method's, for the mark of a refusal.
    path: Uri,
    looked_at: SystemTime,
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
                Poll::Ready(Some(Ok(mut frame))) => match guard {
                    Some(guard) if frame.is_data() && *began => match guard.look() {
                        Ok(_) => return Poll::Ready(Some(Ok(frame))),
                        Err(denied) => guard.end(&denied),
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
                    let Some(guard) = guard else { return Poll::Pending };
                    let denied = ready!(guard.poll_ended(cx));
                    guard.end(&denied)
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
    pub(super) fn new<B>(
        shared: Arc<Shared>,
        caller: Caller,
        audience: Cow<'static, str>,
        request: &Request<B>,
    ) -> Self {
        let looked_at = shared.now();
        let (grpc, path) = (is_grpc(request.headers()), request.uri().clone());
        Self { shared, caller, audience, grpc, path, looked_at, timer: None }
    }

    /// How long the call may go on before the next look; or why it may not.
    fn look(&mut self) -> Result<Duration, Denied> {
        let now = self.shared.now();
        let end = self.caller.expires_at().checked_add(self.shared.leeway());
        let left = end.and_then(|end| end.duration_since(now).ok()).filter(|left| !left.is_zero());
        let left = left.ok_or_else(|| VerifyError::from(Unverified::Expired))?;
        // By the clock of the day, which may have been set back.
        if now.duration_since(self.looked_at).map_or(true, |since| since >= LOOK_APART) {
            self.looked_at = now;
            self.shared.check_again(&self.caller, &self.audience, now)?;
        }
        Ok(left.min(DOZE_MAX))
    }

    /// Ready once the token is good no more.
    pub(super) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Denied> {
        loop {
            let doze = match self.look() {
                Ok(doze) => doze,
                Err(denied) => return Poll::Ready(denied),
            };
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(doze)));
            ready!(timer.as_mut().poll(cx));
            timer.as_mut().reset(tokio::time::Instant::now() + doze);
        }
    }

    /// The answer to a call that has none yet.
    pub(super) fn refuse(&self, denied: &Denied) -> Response<Body> {
        let mut response = self.shared.answer(denied, Some(self.caller.clone()), self.grpc);
        if self.grpc && mark::is_renewable(denied.reason()) {
            mark::put(response.headers_mut(), Stage::AfterHandler, self.path.path());
        }
        response
    }

    /// The end of the stream: trailers in gRPC, in HTTP a body that breaks off.
    fn end(&self, denied: &Denied) -> Result<Frame<Bytes>, BoxError> {
        let answer = self.refuse(denied);
        if !self.grpc {
            return Err(denied.to_string().into());
        }
        let mut trailers = answer.into_parts().0.headers;
        trailers.remove(CONTENT_TYPE);
        Ok(Frame::trailers(trailers))
    }
}
