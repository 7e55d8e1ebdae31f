//! What may be sent twice, and when.
//!
//! Once more, at most, and only where the first attempt provably did nothing: the callee's own layer refused
//! the token before the handler ran (a trailers-only answer with this project's reason), the method is unary, and
//! its one message is still at hand. Streams are never replayed.

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

/// The largest request that is kept for a replay.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// gRPC over HTTP/2: one byte of flags, four of length, before each message.
const PREFIX_BYTES: usize = 5;

/// The request body, and what is needed to send it again.
pub(super) struct Outgoing {
    pub(super) body: Body,
    /// The whole of it, where it is one message and small.
    pub(super) replay: Option<Bytes>,
}

impl Outgoing {
    /// For what is sent once, whatever becomes of it.
    pub(super) fn once(body: Body) -> Self {
        Self { body, replay: None }
    }

    /// Looks at the body without waiting: a single message is there at once, a stream is not.
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

/// Exactly one message, of a size that may be kept.
fn is_one_message(data: &[u8]) -> bool {
    let Some((prefix, message)) = data.split_at_checked(PREFIX_BYTES) else { return false };
    let [_, length @ ..] = prefix else { return false };
    let length =
        <[u8; 4]>::try_from(length).map(u32::from_be_bytes).ok().and_then(|length| usize::try_from(length).ok());
    length == Some(message.len()) && data.len() <= BODY_BYTES_MAX
}

fn poll(body: &mut Body) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
    // Nobody is woken: whoever sends the body polls it again, with a waker of its own.
    pin!(body).poll_frame(&mut Context::from_waker(noop_waker_ref()))
}

/// A body of one frame. It does not tell its length, as the body that it stands for did not: a `content-length`
/// is nothing that gRPC sends.
pub(super) fn one_message(message: Bytes) -> Body {
    after(Frame::data(message), Body::empty())
}

fn after(first: Frame<Bytes>, rest: Body) -> Body {
    Body::new(After { first: Some(first), rest })
}

/// A body whose first frame was looked at.
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

/// Whether these headers (of a trailers-only answer) or trailers say that the callee's layer refused the
/// token, and a new one may help.
///
/// By the reason alone, never by the code: UNAUTHENTICATED may be the handler's own word on something else.
/// A token for another audience is not bettered by a new one for the same.
pub(super) fn refuses_token(headers: &HeaderMap) -> bool {
    if headers.get(Status::GRPC_STATUS).is_none_or(|status| status != "16") {
        return false;
    }
    let Some(status) = Status::from_header_map(headers) else { return false };
    let renewable =
        [ErrorReason::TokenInvalid, ErrorReason::TokenExpired, ErrorReason::TokenRevoked, ErrorReason::TokenKeyUnknown];
    status.code() == Code::Unauthenticated
        && status.get_details_error_info().is_some_and(|info| {
            info.domain == ERROR_DOMAIN
                && !info.metadata.contains_key(RELAYED)
                && renewable.iter().any(|reason| reason.as_reason() == info.reason)
        })
}

/// In the metadata of an `ErrorInfo` that was heard by the program whose token it is about.
const RELAYED: &str = "relayed";

/// Marks a refusal that is handed to the program: should its handler pass the status on to its own caller, it
/// must not read as a refusal of that caller's token, or the handler would run twice.
pub(super) fn mark_relayed(headers: &mut HeaderMap) {
    let Some(status) = Status::from_header_map(headers) else { return };
    let mut details = status.get_error_details();
    let Some(info) = details.error_info().cloned() else { return };
    let mut metadata = info.metadata;
    metadata.insert(RELAYED.to_owned(), "true".to_owned());
    details.set_error_info(info.reason, info.domain, metadata);
    let message = status.message().to_owned();
    let marked = Status::with_error_details_and_metadata(status.code(), message, details, status.metadata().clone());
    // Cannot fail: what is written was read from headers. If it did, the refusal would merely be unmarked.
    let _ = marked.add_header(headers);
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
    async fn a_large_message_a_stream_and_whatever_is_not_one_message_are_sent_once() {
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

    fn headers(status: Status) -> HeaderMap {
        status.into_http::<Body>().into_parts().0.headers
    }

    #[test]
    fn only_our_own_word_on_the_token_counts() {
        for reason in ["TOKEN_INVALID", "TOKEN_EXPIRED", "TOKEN_REVOKED", "TOKEN_KEY_UNKNOWN"] {
            let reason = ErrorReason::from_str_name(&format!("ERROR_REASON_{reason}")).unwrap();
            assert!(refuses_token(&headers(Answer::new(reason, "").into_status())), "{reason:?}");
        }
        for reason in [
            ErrorReason::CredentialsMissing,
            ErrorReason::TokenAudienceMismatch,
            ErrorReason::ClientAuthenticationFailed,
            ErrorReason::ScopeInsufficient,
            ErrorReason::TrustUnavailable,
        ] {
            assert!(!refuses_token(&headers(Answer::new(reason, "").into_status())), "{reason:?}");
        }
        assert!(!refuses_token(&headers(Status::unauthenticated("session expired"))));
        assert!(!refuses_token(&HeaderMap::new()));
    }

    #[test]
    fn a_refusal_that_the_program_has_heard_does_not_count_again() {
        let mut headers = headers(Answer::new(ErrorReason::TokenExpired, "has expired").into_status());
        mark_relayed(&mut headers);
        assert!(!refuses_token(&headers));
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "has expired"));
        assert_eq!(status.get_details_error_info().unwrap().reason, "TOKEN_EXPIRED");
        assert!(status.metadata().contains_key("www-authenticate"));
        assert_eq!(headers.get_all("grpc-status-details-bin").iter().count(), 1);
    }

    #[test]
    fn the_same_reason_under_another_domain_or_code_does_not_count() {
        use tonic_types::ErrorDetails;
        let with = |code, domain: &str| {
            let details = ErrorDetails::with_error_info("TOKEN_EXPIRED", domain, std::collections::HashMap::new());
            headers(Status::with_error_details(code, "", details))
        };
        assert!(refuses_token(&with(Code::Unauthenticated, ERROR_DOMAIN)));
        assert!(!refuses_token(&with(Code::Unauthenticated, "shop.example")));
        assert!(!refuses_token(&with(Code::Unavailable, ERROR_DOMAIN)));
    }
}
