//! The gRPC answer → the HTTP answer.

use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header::CONNECTION};
use http_body_util::BodyExt as _;
use prost_reflect::MessageDescriptor;
use token_issuer::origin::Origin;
use token_proto::token::v1::ErrorReason;
use tonic::{Code, Status, body::Body};

use super::{Encoding, error, message::to_json};
use crate::grpc::status;

/// The way back for the answer to one call.
pub(super) struct Answering {
    pub(super) encoding: Encoding,
    /// The type of the answer. `None` for a method that does not exist.
    pub(super) output: Option<MessageDescriptor>,
    /// True if the request came over HTTP/1.
    pub(super) http_1: bool,
    pub(super) origin: Origin,
}

impl Answering {
    pub(super) async fn translate(self, response: Response<Body>) -> Response<Body> {
        let (head, body) = response.into_parts();
        // Without a message, the status is in the head.
        let refused = Status::from_header_map(&head.headers).filter(|status| status.code() != Code::Ok);
        if let Some(status) = refused {
            return self.error(&status, head.headers);
        }
        let collected = match body.collect().await {
            Ok(collected) => collected,
            Err(status) => return self.error(&status, head.headers),
        };
        let trailers = collected.trailers().cloned().unwrap_or_default();
        let mut headers = head.headers;
        append_trailers(&mut headers, &trailers);
        let status = Status::from_header_map(&trailers).unwrap_or_else(|| self.untranslatable());
        if status.code() != Code::Ok {
            return self.error(&status, headers);
        }
        let data = collected.to_bytes();
        match message(&data).and_then(|message| self.encode(message)) {
            Some(body) => {
                let mut response = Response::new(Body::new(axum::body::Body::from(body)));
                *response.headers_mut() = error::without_form(headers);
                error::shown(&mut response, self.encoding);
                response
            }
            None => self.error(&self.untranslatable(), headers),
        }
    }

    fn encode(&self, message: &[u8]) -> Option<Vec<u8>> {
        let kind = self.output.clone()?;
        match self.encoding {
            Encoding::Proto => Some(message.to_vec()),
            Encoding::Json => serde_json::to_vec(&to_json(kind, message).ok()?).ok(),
        }
    }

    /// Returns the answer for an error. `headers` are those of the gRPC answer.
    fn error(&self, status: &Status, headers: HeaderMap) -> Response<Body> {
        let mut response = error::of_status(status);
        *response.headers_mut() = error::without_form(headers);
        error::shown(&mut response, Encoding::Json);
        if self.output.is_none() && status.code() == Code::Unimplemented {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        if self.http_1 && status.code() == Code::DeadlineExceeded {
            // The rest of this request would be read as the next one.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn untranslatable(&self) -> Status {
        tracing::error!("an answer is not one gRPC message of the method's type; answering INTERNAL");
        let sentence = "The answer cannot be translated. Report the request ID.";
        status::with_reason(ErrorReason::Internal, sentence, &self.origin, None)
    }
}

/// Returns the one message of a gRPC body.
fn message(data: &[u8]) -> Option<&[u8]> {
    let ([compressed, length @ ..], message) = data.split_first_chunk::<5>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    (*compressed == 0 && length == message.len()).then_some(message)
}

/// Appends the trailers as header fields with a prefix, as the protocol's unary form has them.
fn append_trailers(headers: &mut HeaderMap, trailers: &HeaderMap) {
    for (name, value) in trailers.iter().filter(|(name, _)| !name.as_str().starts_with("grpc-")) {
        if let Ok(name) = HeaderName::try_from(format!("trailer-{name}")) {
            headers.append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use token_issuer::origin::Peer;

    use super::*;
    use crate::connect::contract::Contract;

    fn answering(encoding: Encoding) -> Answering {
        let output = Contract::embedded().unwrap().message("m2m.token.v1.IntrospectTokenResponse");
        Answering { encoding, output, http_1: true, origin: Origin::new(Peer::UNKNOWN, &HeaderMap::new()) }
    }

    fn grpc(data: &'static [u8], trailers: &[(&'static str, &'static str)]) -> Response<Body> {
        let trailers =
            trailers.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let frames = [Frame::data(Bytes::from_static(data)), Frame::trailers(trailers.collect())];
        let body = Body::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Status>))));
        let head = Response::builder().header("content-type", "application/grpc").header("x-request-id", "r");
        head.header("grpc-encoding", "identity").body(body).unwrap()
    }

    async fn told(encoding: Encoding, grpc: Response<Body>) -> (u16, HeaderMap, Bytes) {
        let (head, body) = answering(encoding).translate(grpc).await.into_parts();
        (head.status.as_u16(), head.headers, body.collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn a_message_is_answered_with_its_metadata_and_trailers() {
        let active = || grpc(b"\0\0\0\0\x02\x08\x01", &[("grpc-status", "0"), ("x-late", "1")]);
        let (status, headers, body) = told(Encoding::Json, active()).await;
        assert_eq!((status, &body[..]), (200, &br#"{"active":true}"#[..]));
        assert_eq!(
            (&headers["content-type"], &headers["trailer-x-late"]),
            (&HeaderValue::from_static("application/json"), &HeaderValue::from_static("1"))
        );
        assert_eq!(
            (&headers["x-request-id"], &headers["cache-control"]),
            (&HeaderValue::from_static("r"), &HeaderValue::from_static("no-store"))
        );
        assert_eq!(headers.len(), 4, "{headers:?}");
        let (_, headers, body) = told(Encoding::Proto, active()).await;
        assert_eq!(
            (&headers["content-type"], &body[..]),
            (&HeaderValue::from_static("application/proto"), &b"\x08\x01"[..])
        );
    }

    #[tokio::test]
    async fn an_error_after_the_head_is_an_error() {
        let late = grpc(b"\0\0\0\0\x02\x08\x01", &[("grpc-status", "8"), ("grpc-message", "full")]);
        let (status, _, body) = told(Encoding::Proto, late).await;
        assert_eq!((status, &body[..]), (429, &br#"{"code":"resource_exhausted","message":"full"}"#[..]));
    }

    #[tokio::test]
    async fn anything_but_one_message_is_internal() {
        for (data, trailers) in [
            (&b"\0\0\0\0\x02\x08"[..], &[("grpc-status", "0")][..]),
            (b"", &[("grpc-status", "0")]),
            (b"\x01\0\0\0\x02\x08\x01", &[("grpc-status", "0")]),
            (b"\0\0\0\0\x02\x08\x01\0\0\0\0\0", &[("grpc-status", "0")]),
            (b"\0\0\0\0\x02\x08\x01", &[]),
            (b"\0\0\0\0\x02\xff\xff", &[("grpc-status", "0")]),
        ] {
            let (status, _, body) = told(Encoding::Json, grpc(data, trailers)).await;
            assert!(status == 500 && body.starts_with(br#"{"code":"internal""#), "{data:?}");
        }
    }
}
