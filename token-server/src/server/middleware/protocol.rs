//! The protocol of a request, and the responses given in place of the service's.

use http::{HeaderMap, HeaderValue, Request, Response};
use token_issuer::{error::IssueError, origin::Origin};
use tonic::body::Body;

use crate::{
    connect,
    grpc::{is_grpc, status},
    http as oauth,
};

/// gRPC in each of its forms, HTTP, or a method of gRPC as JSON over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Grpc,
    Http,
    Connect,
}

impl Protocol {
    /// Determines the protocol from a request's header fields. Inside of the layer that translates Connect,
    /// there are only two.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        if is_grpc(headers) { Self::Grpc } else { Self::Http }
    }

    /// Determines the protocol of a request as it arrived.
    pub(crate) fn arrived<B>(request: &Request<B>) -> Self {
        let of = Self::of(request.headers());
        let calls_a_method = of == Self::Http && connect::is_method_path(request.uri().path());
        if calls_a_method { Self::Connect } else { of }
    }

    /// The response if too many requests are in flight.
    pub(crate) fn overloaded(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::overloaded(origin).into_http(),
            Self::Http => oauth::overloaded(origin).map(Body::new),
            Self::Connect => connect::of_status(&status::overloaded(origin)),
        }
    }

    /// The response to a request that fails with `error`.
    pub(crate) fn refused(self, error: &IssueError, origin: &Origin) -> Response<Body> {
        let status = || status::of_issue_error(error, origin, &HeaderValue::from_static(""));
        match self {
            Self::Grpc => status().into_http(),
            Self::Http => oauth::refused(error, origin).map(Body::new),
            Self::Connect => connect::of_status(&status()),
        }
    }

    /// The response to a request that takes too long.
    pub(crate) fn too_slow(self, origin: &Origin) -> Response<Body> {
        match self {
            Self::Grpc => status::too_slow(origin).into_http(),
            Self::Http => oauth::too_slow(origin).map(Body::new),
            Self::Connect => connect::of_status(&status::too_slow(origin)),
        }
    }
}
