//! The entry of a request from a connection: its origin, its conformance to HTTP, and its permit among its
//! peer's.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{ACCEPT_ENCODING, ALLOW, CONNECTION},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer as _, Service as _};

use super::{
    middleware::{
        conformance::{Verdict, judge},
        peer_limit::{CountedBody, HeadBytes, PeerLimit, PeerLimitFuture},
        protocol::Protocol,
    },
    port::Port,
    routes::Services,
};
use crate::{
    connect, connection,
    connection::{ConnectionInfo, Forwarding, Turn},
    http as oauth,
};

/// The service of one connection.
pub(super) struct Inbound {
    services: PeerLimit<Services>,
    line: ConnectionInfo,
    /// The bytes of the current head, released when its request arrives.
    head_bytes: Arc<HeadBytes>,
    forwarding: Arc<Forwarding>,
    header_bytes_max: usize,
}

impl Inbound {
    pub(super) fn new(port: &Port, line: ConnectionInfo, head_bytes: Arc<HeadBytes>) -> Self {
        Self {
            services: port.peer_limit.layer(port.services.clone()),
            line,
            head_bytes,
            forwarding: Arc::clone(&port.forwarding),
            header_bytes_max: usize::try_from(port.limits.header_bytes).unwrap_or(usize::MAX),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Inbound {
    type Response = Response<Outgoing>;
    type Error = Infallible;
    type Future = InboundFuture;

    fn call(&self, mut request: Request<Incoming>) -> InboundFuture {
        self.head_bytes.release();
        // HTTP/1 has one request at a time. While one is in flight, its peer may stay silent.
        let turn = (request.version() != Version::HTTP_2).then(|| self.line.activity.begin());
        let mut line = self.line.clone();
        line.peer = self.forwarding.peer(line.peer, request.headers());
        request.extensions_mut().insert(line);
        match judge(&request, self.header_bytes_max) {
            // None of the services below is ever busy.
            Ok(()) => InboundFuture::Answered { inner: self.services.clone().call(request), turn },
            Err(verdict) => InboundFuture::Refused { answer: Some(answer(verdict, &request)), turn },
        }
    }
}

fn answer(verdict: Verdict, request: &Request<Incoming>) -> Response<Body> {
    const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE, OPTIONS");
    match verdict {
        Verdict::Options => {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::NO_CONTENT;
            answer.headers_mut().insert(ALLOW, METHODS);
            answer
        }
        Verdict::Refused(status, sentence) => {
            let origin = connection::origin(request.headers(), request.extensions());
            let mut answer = match Protocol::arrived(request) {
                Protocol::Connect => {
                    let mut answer = connect::refused(status, sentence, &origin);
                    if request.version() != Version::HTTP_2 {
                        // The start of the next request can no longer be determined.
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    answer
                }
                Protocol::Grpc | Protocol::Http => {
                    oauth::not_conforming(status, sentence, &origin, request.version()).map(Body::new)
                }
            };
            if status == StatusCode::UNSUPPORTED_MEDIA_TYPE {
                // RFC 9110 section 15.5.16.
                answer.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            answer
        }
    }
}

pin_project! {
    /// The response in progress.
    #[project = Answering]
    pub(super) enum InboundFuture {
        Refused { answer: Option<Response<Body>>, turn: Option<Turn> },
        Answered {
            #[pin]
            inner: PeerLimitFuture<<Services as tower::Service<Request<Body>>>::Future>,
            turn: Option<Turn>,
        },
    }
}

impl Future for InboundFuture {
    type Output = Result<Response<Outgoing>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, turn) = match self.project() {
            // Taken once: a completed future is not polled again.
            Answering::Refused { answer, turn } => match answer.take() {
                Some(answer) => (answer.map(CountedBody::without_permit), turn.take()),
                None => return Poll::Pending,
            },
            Answering::Answered { inner, turn } => (ready!(inner.poll(cx))?, turn.take()),
        };
        Poll::Ready(Ok(answer.map(|body| Outgoing { body, _turn: turn })))
    }
}

pin_project! {
    /// The body of a response. Its request ends when this is dropped.
    #[derive(Debug)]
    pub(super) struct Outgoing {
        #[pin]
        body: CountedBody,
        _turn: Option<Turn>,
    }
}

impl HttpBody for Outgoing {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
