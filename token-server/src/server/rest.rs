//! The rest of a request that was answered without being read.
//!
//! To answer before the request has come whole is allowed (RFC 9113 section 8.1), but the server must then tell the caller to
//! stop: a frame more for each, and until it is sent the stream keeps its place, where the caller believes that it has none
//! any more and may open another. So a refused request is read to its end; but not for ever, and not whatever comes.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

/// Frames that are taken of it: whoever sends more has to be told to stop.
const FRAMES_MAX: u32 = 16;

pin_project! {
    /// Ready at the end of the request, or when that is not worth waiting for any longer.
    pub(super) struct Rest<A> {
        #[pin]
        body: A,
        frames: u32,
        time_max: Duration,
        // Begun when there is something to wait for: hardly ever.
        #[pin]
        time: Option<Sleep>,
    }
}

impl<A> Rest<A> {
    pub(super) fn of(body: A, time_max: Duration) -> Self {
        Self { body, frames: 0, time_max, time: None }
    }
}

impl<A: Body> Future for Rest<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        while *this.frames < FRAMES_MAX {
            match this.body.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(_))) => *this.frames += 1,
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {
                    if this.time.is_none() {
                        this.time.set(Some(tokio::time::sleep(*this.time_max)));
                    }
                    return this.time.as_pin_mut().map_or(Poll::Ready(()), |time| time.poll(cx));
                }
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tokio::{sync::mpsc, time::advance};
    use tokio_stream::wrappers::UnboundedReceiverStream;

    use super::*;

    const TIME_MAX: Duration = Duration::from_secs(30);

    fn rest(frames: impl Stream<Item = Frame<Bytes>>) -> Rest<impl Body> {
        Rest::of(StreamBody::new(frames.map(Ok::<_, Infallible>)), TIME_MAX)
    }

    fn frame() -> Frame<Bytes> {
        Frame::data(Bytes::from_static(b"message"))
    }

    #[tokio::test(start_paused = true)]
    async fn is_ready_when_the_end_has_come_and_not_before() {
        let (sender, frames) = mpsc::unbounded_channel();
        let mut rest = Box::pin(rest(UnboundedReceiverStream::new(frames)));
        sender.send(frame()).unwrap();
        assert!(rest.as_mut().now_or_never().is_none());
        drop(sender);
        assert!(rest.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn is_not_waited_for_when_it_does_not_come() {
        let mut rest = Box::pin(rest(stream::pending()));
        assert!(rest.as_mut().now_or_never().is_none());
        advance(TIME_MAX * 2).await;
        assert!(rest.as_mut().now_or_never().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn is_not_read_for_ever() {
        assert!(rest(stream::repeat_with(frame)).now_or_never().is_some());
    }
}
