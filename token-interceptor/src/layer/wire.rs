//! The protocol of a request, which decides the form of a refusal.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use tonic::body::Body;

use crate::status::Answer;

/// The flag of a gRPC-Web frame that holds trailers.
const TRAILERS: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// gRPC over HTTP/2.
    Grpc,
    /// gRPC-Web, where this layer is outside of `GrpcWebLayer`.
    GrpcWeb(Encoding),
    /// Plain HTTP.
    Http,
}

/// The frame encoding of gRPC-Web.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Binary,
    Base64,
}

impl Wire {
    /// Detects the protocol by the content type: a media type, case-insensitive, with or without a message
    /// format and parameters.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        let is_end = |byte: &u8| matches!(byte, b'+' | b';' | b' ' | b'\t');
        let end = content_type.iter().position(is_end).unwrap_or(content_type.len());
        let named = content_type.get(..end).unwrap_or_default();
        if named.eq_ignore_ascii_case(b"application/grpc") {
            Self::Grpc
        } else if named.eq_ignore_ascii_case(b"application/grpc-web") {
            Self::GrpcWeb(Encoding::Binary)
        } else if named.eq_ignore_ascii_case(b"application/grpc-web-text") {
            Self::GrpcWeb(Encoding::Base64)
        } else {
            Self::Http
        }
    }

    /// Returns the refusal in the protocol's form. gRPC and gRPC-Web put the status into the head, as there
    /// is no message.
    pub(super) fn answer(self, answer: Answer) -> Response<Body> {
        match self {
            Self::Http => answer.into_http(),
            Self::Grpc => answer.into_status().into_http(),
            Self::GrpcWeb(encoding) => {
                let mut response = answer.into_status().into_http();
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
                response
            }
        }
    }
}

impl Encoding {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Binary => "application/grpc-web+proto",
            Self::Base64 => "application/grpc-web-text+proto",
        }
    }

    /// Returns the frame that ends a stream.
    pub(super) fn trailers(self, trailers: &HeaderMap) -> Bytes {
        let mut block = BytesMut::new();
        for (name, value) in trailers {
            block.put_slice(name.as_str().as_bytes());
            block.put_slice(b": ");
            block.put_slice(value.as_bytes());
            block.put_slice(b"\r\n");
        }
        let mut frame = BytesMut::new();
        frame.put_u8(TRAILERS);
        // A refusal is a few hundred bytes, so the length fits.
        frame.put_u32(u32::try_from(block.len()).unwrap_or_default());
        frame.put_slice(&block);
        match self {
            Self::Binary => frame.freeze(),
            Self::Base64 => STANDARD.encode(&frame).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_told_by_the_whole_media_type() {
        let of = |content_type: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            Wire::of(&headers)
        };
        for grpc in ["application/grpc", "application/grpc+proto", "APPLICATION/gRPC", "application/grpc; x=y"] {
            assert_eq!(of(grpc), Wire::Grpc, "{grpc}");
        }
        for web in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web+json"] {
            assert_eq!(of(web), Wire::GrpcWeb(Encoding::Binary), "{web}");
        }
        for text in ["application/grpc-web-text", "application/grpc-web-text+proto"] {
            assert_eq!(of(text), Wire::GrpcWeb(Encoding::Base64), "{text}");
        }
        for other in ["", "application/json", "application/grpcx", "application/grpc-webx", "text/plain"] {
            assert_eq!(of(other), Wire::Http, "{other}");
        }
        assert_eq!(Wire::of(&HeaderMap::new()), Wire::Http);
    }

    #[test]
    fn trailers_are_one_flagged_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("16"));
        let frame = Encoding::Binary.trailers(&trailers);
        assert_eq!(&frame[..], b"\x80\x00\x00\x00\x11grpc-status: 16\r\n");
        assert_eq!(Encoding::Base64.trailers(&trailers), STANDARD.encode(&frame));
    }
}
