//! Which of the two faces is spoken to, and what it says in place of the service.

use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use tonic::body::Body;

use crate::{error::IssueError, http as oauth, origin::Origin, service::status};

/// gRPC, in each of its forms, or HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    Grpc,
    Http,
}

impl Face {
    /// By a request's header fields.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        if content_type.starts_with(b"application/grpc") { Self::Grpc } else { Self::Http }
    }

    /// More is under way than there should be.
    pub(super) fn overloaded(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::overloaded(origin).into_http(),
            Self::Http => oauth::overloaded(origin).map(Body::new),
        }
    }

    /// It cannot be answered, for that reason.
    pub(super) fn refused(self, error: &IssueError, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::of_issue_error(error, origin, &HeaderValue::from_static("")).into_http(),
            Self::Http => oauth::refused(error, origin).map(Body::new),
        }
    }

    /// It takes too long.
    pub(super) fn too_slow(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::too_slow(origin).into_http(),
            Self::Http => oauth::too_slow(origin).map(Body::new),
        }
    }
}
