//! The calls that may be sent twice.
//!
//! A call is sent once more at most, and only if the first attempt provably did nothing. The callee's own
//! layer marks ([`crate::mark`]) that it refused the token instead of the handler. The method is unary, and
//! its one message is still in memory. Streams are never sent again.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::noop_waker_ref;
use http::HeaderMap;
use http_body::{Body as _, Frame};
use token_proto::{ERROR_DOMAIN, token::v1::ErrorReason};
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;

use crate::mark::{self, Stage};

/// The largest request that is kept for a replay, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// gRPC over HTTP/2: one byte of flags and four of length precede each message.
const PREFIX_BYTES: usize = 5;

/// The request body, and a copy to send again.
pub(super) struct Outgoing {
    pub(super) body: Body,
    /// The whole body, if it is one small message.
    pub(super) replay: Option<Bytes>,
}

impl Outgoing {
    /// Wraps a body that is sent only once.
    pub(super) fn once(body: Body) -> Self {
        Self { body, replay: None }
    }

    /// Polls the body once, without waiting. A single message is ready at once; a stream is not.
    pub(super) fn look_at(mut body: Body) -> Result<Self, Status> {
        let first = match poll(&mut body) {
            Poll::Pending => return Ok(Self::once(body)),
            Poll::Ready(None) => return Ok(Self::once(Body::empty())),
            Poll::Ready(Some(Err(status))) => return Err(status),
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let Some(message) = first.data_ref().filter(|data| is_one_message(data)).cloned() else {
            return Ok(Self::once(after(first, body)));
        };
        match poll(&mut body) {
            Poll::Ready(None) => Ok(Self { body: one_message(message.clone()), replay: Some(message) }),
            Poll::Ready(Some(Err(status))) => Err(status),
            Poll::Ready(Some(Ok(second))) => Ok(Self::once(after(first, after(second, body)))),
            Poll::Pending => Ok(Self::once(after(first, body))),
        }
    }
}

/// Returns true for exactly one message that is small enough to keep.
fn is_one_message(data: &[u8]) -> bool {
    let Some((prefix, message)) = data.split_at_checked(PREFIX_BYTES) else { return false };
    let [_, length @ ..] = prefix else { return false };
    let length =
        <[u8; 4]>::try_from(length).map(u32::from_be_bytes).ok().and_then(|length| usize::try_from(length).ok());
    length == Some(message.len()) && data.len() <= BODY_BYTES_MAX
}

fn poll(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    // No waker is needed: the transport polls the body again with its own waker.
    pin!(body).poll_frame(&mut Context::from_waker(noop_waker_ref()))
}

/// Returns a body of one frame. It declares no length, like the original body: gRPC sends no
/// `content-length`.
pub(super) fn one_message(message: Bytes) -> Body {
    after(Frame::data(message), Body::empty())
}

fn after(first: Frame<Bytes>, rest: Body) -> Body {
    Body::new(After { first: Some(first), rest })
}

/// A body whose first frame was taken.
struct After {
    first: Option<Frame<Bytes>>,
    rest: Body,
}

impl http_body::Body for After {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }
}

/// Takes the layer's mark from these trailers, or the headers of a trailers-only answer. Returns the stage if
/// the callee's own layer refused the token of this call of `path`, and a new token may help.
///
/// Both mark and reason must be present. Any program may write the reason; see [`crate::mark`].
pub(super) fn refused(headers: &mut HeaderMap, path: &str) -> Option<Stage> {
    let stage = mark::take(headers, path)?;
    let status = Status::from_header_map(headers).filter(|status| status.code() == Code::Unauthenticated)?;
    let info = status.get_details_error_info().filter(|info| info.domain == ERROR_DOMAIN)?;
    let reason = ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason))?;
    mark::is_renewable(reason).then_some(stage)
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::status::Answer;

    fn message(length: usize) -> Bytes {
        let mut data = vec![0];
        data.extend(u32::try_from(length).unwrap().to_be_bytes());
        data.resize(PREFIX_BYTES + length, 7);
        data.into()
    }

    fn ready(frames: Vec<Bytes>) -> Body {
        Body::new(StreamBody::new(stream::iter(frames.into_iter().map(|data| Ok::<_, Status>(Frame::data(data))))))
    }

    async fn sent(outgoing: Outgoing) -> Bytes {
        outgoing.body.collect().await.unwrap().to_bytes()
    }

    #[tokio::test]
    async fn one_small_message_may_be_sent_again() {
        let outgoing = Outgoing::look_at(ready(vec![message(100)])).unwrap();
        assert_eq!(outgoing.replay, Some(message(100)));
        assert_eq!(sent(outgoing).await, message(100));
    }

    #[tokio::test]
    async fn a_large_message_a_stream_and_partial_messages_are_sent_once() {
        let two = [message(1), message(1)].concat().into();
        let cut = message(10).slice(..8);
        for frames in [
            vec![message(BODY_BYTES_MAX)],
            vec![message(1), message(2)],
            vec![message(1), message(2), message(3)],
            vec![two],
            vec![cut],
            vec![Bytes::from_static(b"abc")],
            vec![],
        ] {
            let outgoing = Outgoing::look_at(ready(frames.clone())).unwrap();
            assert_eq!(outgoing.replay, None);
            assert_eq!(sent(outgoing).await, frames.concat());
        }
    }

    #[tokio::test]
    async fn a_request_that_is_still_being_written_is_sent_once() {
        for first in [vec![], vec![message(5)]] {
            let frames = stream::iter(first.clone().into_iter().map(|data| Ok::<_, Status>(Frame::data(data))));
            let frames = futures_util::StreamExt::chain(frames, stream::pending());
            let outgoing = Outgoing::look_at(Body::new(StreamBody::new(frames))).unwrap();
            assert_eq!(outgoing.replay, None);
            let mut body = outgoing.body;
            for expected in first {
                assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
            }
        }
    }

    const PATH: &str = "/a.S/Read";

    fn marked(status: Status) -> HeaderMap {
        let mut headers = status.into_http::<Body>().into_parts().0.headers;
        mark::put(&mut headers, Stage::BeforeHandler, PATH);
        headers
    }

    #[test]
    fn a_marked_refusal_of_the_token_counts() {
        for reason in ["TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED", "TOKEN_KEY_UNKNOWN"] {
            let reason = ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")).unwrap();
            let mut headers = marked(Answer::new(reason, "").into_status());
            assert_eq!(refused(&mut headers, PATH), Some(Stage::BeforeHandler), "{reason:?}");
            assert_eq!(refused(&mut headers, PATH), None, "the mark is taken");
        }
    }

    #[test]
    fn a_refusal_without_the_mark_does_not_count() {
        let headers =
            || Answer::new(ErrorReason::TokenExpired, "").into_status().into_http::<Body>().into_parts().0.headers;
        assert_eq!(refused(&mut headers(), PATH), None);
        let mut other = headers();
        mark::put(&mut other, Stage::BeforeHandler, "/b.S/Read");
        assert_eq!(refused(&mut other, PATH), None, "of another method");
    }

    #[test]
    fn a_mark_without_a_refusal_of_the_token_does_not_count() {
        for reason in [
            ErrorReason::CredentialsMissing,
            ErrorReason::TokenAudienceMismatch,
            ErrorReason::ClientAuthenticationFailed,
            ErrorReason::ScopeInsufficient,
            ErrorReason::TrustUnavailable,
        ] {
            assert_eq!(refused(&mut marked(Answer::new(reason, "").into_status()), PATH), None, "{reason:?}");
        }
        assert_eq!(refused(&mut marked(Status::unauthenticated("session expired")), PATH), None);
        assert_eq!(refused(&mut HeaderMap::new(), PATH), None);
    }

    #[test]
    fn the_same_reason_under_another_domain_or_code_does_not_count() {
        use tonic_types::ErrorDetails;
        let with = |code, domain: &str| {
            let details = ErrorDetails::with_error_info("TOKEN_EXPIRED", domain, std::collections::HashMap::new());
            refused(&mut marked(Status::with_error_details(code, "", details)), PATH)
        };
        assert_eq!(with(Code::Unauthenticated, ERROR_DOMAIN), Some(Stage::BeforeHandler));
        assert_eq!(with(Code::Unauthenticated, "shop.example"), None);
        assert_eq!(with(Code::Unavailable, ERROR_DOMAIN), None);
    }
}
