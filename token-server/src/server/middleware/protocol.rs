//! The protocol of a request, gRPC or HTTP, and the responses given in place of the service's.

use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use token_issuer::{error::IssueError, origin::Origin};
use tonic::body::Body;

use crate::{grpc::status, http as oauth};

/// gRPC in each of its forms, or HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
}

impl Protocol {
    /// Determines the protocol from a request's header fields.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if content_type.starts_with(b"application/grpc") { Self::Grpc } else { Self::Http }
    }

    /// The response if too many requests are in flight.
    pub(crate) fn overloaded(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::overloaded(origin).into_http(),
            Self::Http => oauth::overloaded(origin).map(Body::new),
        }
    }

    /// The response to a request that fails with `error`.
    pub(crate) fn refused(self, error: &IssueError, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::of_issue_error(error, origin, &HeaderValue::from_static("")).into_http(),
            Self::Http => oauth::refused(error, origin).map(Body::new),
        }
    }

    /// The response to a request that takes too long.
    pub(crate) fn too_slow(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::too_slow(origin).into_http(),
            Self::Http => oauth::too_slow(origin).map(Body::new),
        }
    }
}
