//! The rest of a request that was rejected without being read.
//!
//! HTTP/2 allows a response before the request is complete (RFC 9113 section 8.1). The server must then send
//! RST_STREAM. Until that extra frame is sent, this server still counts the stream. The client does not, and
//! may exceed the stream limit. So the body of a rejected request is drained, within limits of time and size.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http_body::Body;
use pin_project_lite::pin_project;
use tokio::time::Sleep;

/// The maximum number of frames drained. A sender of more gets RST_STREAM.
const FRAMES_MAX: u32 = 16;

pin_project! {
    /// Ready at the end of the request, or when a limit is reached.
    pub(crate) struct DrainedBody<A> {
        #[pin]
        body: A,
        frames: u32,
        time_max: Duration,
        // Started only when there is something to wait for, which is rare.
        #[pin]
        time: Option<Sleep>,
    }
}

impl<A> DrainedBody<A> {
    pub(crate) fn of(body: A, time_max: Duration) -> Self {
        Self { body, frames: 0, time_max, time: None }
    }
}

impl<A: Body> Future for DrainedBody<A> {
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

    fn rest(frames: impl Stream<Item = Frame<Bytes>>) -> DrainedBody<impl Body> {
        DrainedBody::of(StreamBody::new(frames.map(Ok::<_, Infallible>)), TIME_MAX)
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
