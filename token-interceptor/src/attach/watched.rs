//! A response body whose end is watched. If the callee's layer ends a stream because its token became
//! invalid, the token is renewed for the next call.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::uri::PathAndQuery;
use http_body::{Body, Frame, SizeHint};

use super::replay;
use crate::refresh::FreshToken;

pin_project_lite::pin_project! {
    /// The body of a response to a call that carried a token.
    pub struct Watched<B> {
        #[pin]
        inner: Option<B>,
        sent: Option<Sent>,
    }
}

/// The token that the call carried.
pub(super) struct Sent {
    pub(super) token: FreshToken,
    pub(super) generation: u64,
    /// The method's path, which a mark must name.
    pub(super) path: Option<PathAndQuery>,
}

/// Returns the path; empty for a request without one, which no mark names.
pub(super) fn path_of(path: &Option<PathAndQuery>) -> &str {
    path.as_ref().map_or("", PathAndQuery::path)
}

impl<B> Watched<B> {
    pub(super) fn new(inner: B, sent: Option<Sent>) -> Self {
        Self { inner: Some(inner), sent }
    }
}

/// An empty body, for an answer that the callee did not make.
impl<B> Default for Watched<B> {
    fn default() -> Self {
        Self { inner: None, sent: None }
    }
}

impl<B: Body> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let mut frame = ready!(inner.poll_frame(context));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            let path = this.sent.as_ref().map_or("", |sent| path_of(&sent.path));
            let refused = replay::refused(trailers, path).is_some();
            if let Some(sent) = this.sent.take().filter(|_| refused) {
                sent.token.reject(sent.generation);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B> std::fmt::Debug for Watched<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}
