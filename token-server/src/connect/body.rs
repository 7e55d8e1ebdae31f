//! The body of the gRPC request: one frame, made when the whole message has arrived.
//!
//! The service reads it, so its layers have decided before, and their limits of time and size hold. An error
//! here reaches the caller as one of the service.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body::{Body as HttpBody, Frame};
use pin_project_lite::pin_project;
use prost_reflect::MessageDescriptor;
use token_issuer::origin::Origin;
use token_proto::token::v1::ErrorReason;
use tonic::{Status, body::Body};

use super::{Encoding, message::from_json};
use crate::grpc::{MESSAGE_BYTES_MAX, status};

pin_project! {
    /// A message that arrives in one encoding and is passed on as a frame of gRPC.
    pub(super) struct MessageBody {
        #[pin]
        body: Body,
        read: BytesMut,
        // Taken at the end, and with an error.
        reader: Option<Reader>,
    }
}

struct Reader {
    encoding: Encoding,
    kind: MessageDescriptor,
    origin: Origin,
}

impl MessageBody {
    pub(super) fn new(body: Body, encoding: Encoding, kind: MessageDescriptor, origin: Origin) -> Self {
        Self { body, read: BytesMut::new(), reader: Some(Reader { encoding, kind, origin }) }
    }
}

impl Reader {
    /// Returns the frame of a whole message.
    fn frame(&self, read: BytesMut) -> Result<Bytes, Status> {
        let message = match self.encoding {
            Encoding::Proto => Bytes::from(read),
            Encoding::Json => from_json(&self.kind, &read).map_err(|error| self.refuse(&error.to_string()))?.into(),
        };
        let mut frame = BytesMut::with_capacity(5 + message.len());
        frame.put_u8(0);
        // The service checks the length of the message.
        frame.put_u32(u32::try_from(message.len()).map_err(|_| self.too_long())?);
        frame.put(message);
        Ok(frame.freeze())
    }

    fn too_long(&self) -> Status {
        self.refuse(&format!("The message is longer than {MESSAGE_BYTES_MAX} bytes."))
    }

    fn refuse(&self, sentence: &str) -> Status {
        status::with_reason(ErrorReason::InvalidRequest, sentence, &self.origin, None)
    }
}

impl HttpBody for MessageBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut this = self.project();
        loop {
            // The rest of a message that is too long is not read, and not asked for.
            let announced = usize::try_from(this.body.size_hint().lower()).unwrap_or(usize::MAX);
            if this.reader.is_some() && this.read.len().saturating_add(announced) > MESSAGE_BYTES_MAX {
                return Poll::Ready(this.reader.take().map(|reader| Err(reader.too_long())));
            }
            if this.reader.is_none() {
                return Poll::Ready(None);
            }
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => this.read.extend_from_slice(frame.data_ref().map_or(&[], Bytes::as_ref)),
                Some(Err(error)) => {
                    *this.reader = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    let read = std::mem::take(this.read);
                    return Poll::Ready(this.reader.take().map(|reader| reader.frame(read).map(Frame::data)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.reader.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use token_issuer::origin::Peer;
    use tonic_types::StatusExt as _;

    use super::*;
    use crate::connect::contract::Contract;

    fn framed(encoding: Encoding, body: Body) -> Result<Bytes, Status> {
        let kind = Contract::embedded().unwrap().message("m2m.admin.v1.GetClientRequest").unwrap();
        let origin = Origin::new(Peer::UNKNOWN, &http::HeaderMap::new());
        let body = MessageBody::new(body, encoding, kind, origin);
        body.collect().now_or_never().unwrap().map(http_body_util::Collected::to_bytes)
    }

    fn in_parts(part: &'static [u8], count: usize) -> Body {
        let parts = stream::repeat(part).take(count).map(|part| Ok::<_, Infallible>(Frame::data(part.into())));
        Body::new(StreamBody::new(parts))
    }

    fn whole(text: String) -> Body {
        Body::new(axum::body::Body::from(text))
    }

    #[test]
    fn a_message_in_parts_is_one_frame() {
        let expected = b"\0\0\0\0\x03\x0a\x01x";
        assert_eq!(framed(Encoding::Json, whole(r#"{"clientId":"x"}"#.to_owned())).unwrap(), &expected[..]);
        assert_eq!(framed(Encoding::Proto, whole("\u{a}\u{1}x".to_owned())).unwrap(), &expected[..]);
        let body = stream::iter([r#"{"clie"#, r#"ntId":"x"}"#]);
        let body = body.map(|part| Ok::<_, Infallible>(Frame::data(Bytes::from(part))));
        assert_eq!(framed(Encoding::Json, Body::new(StreamBody::new(body))).unwrap(), &expected[..]);
        assert_eq!(framed(Encoding::Proto, Body::empty()).unwrap(), &[0; 5][..]);
    }

    #[test]
    fn a_message_beyond_the_limit_is_refused_and_not_kept() {
        let spaces = |count: usize| format!("{{}}{}", " ".repeat(count - 2));
        assert!(framed(Encoding::Json, whole(spaces(MESSAGE_BYTES_MAX))).is_ok());
        for long in
            [whole(spaces(MESSAGE_BYTES_MAX + 1)), in_parts(&[b' '; 1024], 65), in_parts(&[b' '; 1024], usize::MAX)]
        {
            let error = framed(Encoding::Json, long).unwrap_err();
            assert_eq!(error.get_details_error_info().unwrap().reason, "INVALID_REQUEST");
            assert!(error.message().contains("longer than 65536"), "{error}");
        }
    }

    #[test]
    fn an_error_of_the_transport_stays_one() {
        let body = StreamBody::new(stream::iter([Err::<Frame<Bytes>, _>(Status::cancelled("gone"))]));
        assert_eq!(framed(Encoding::Json, Body::new(body)).unwrap_err().code(), tonic::Code::Cancelled);
    }
}
