//! A fast path past the router for most requests: those for a token, over gRPC or HTTP.
//!
//! A router with all paths clones the matched route's layers onto the heap. Each layer then boxes the request
//! and the response. For a token that cost is measurable. The router also knows these paths, and answers
//! every unusual request for them.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::{Router, routing::future::RouteFuture};
use futures_util::{FutureExt as _, TryFutureExt as _, future::MapOk};
use http::{HeaderValue, Method, Request, Response, Version, header::CONTENT_TYPE};
use pin_project_lite::pin_project;
use token_issuer::metadata::path;
use token_proto::token::v1::token_service_server::{SERVICE_NAME, TokenServiceServer};
use tonic::body::Body;
use tower::{Layer as _, Service};

use super::framing::{Framed, FramedFuture, Framing};
use crate::{grpc::token::TokenService, http::TokenEndpoint};

/// Answers requests for tokens, and forwards the others to the router.
#[derive(Clone, Debug)]
pub(crate) struct FastPath {
    tokens: Option<Arc<Tokens>>,
    router: Router,
}

#[derive(Debug)]
struct Tokens {
    grpc: Framed<TokenServiceServer<TokenService>>,
    http: TokenEndpoint,
}

impl FastPath {
    /// Forwards everything to `router`.
    pub(crate) fn new(router: Router) -> Self {
        Self { tokens: None, router }
    }

    /// Adds the fast path. Every request that is not an ordinary one for a token goes to the router.
    pub(crate) fn with_tokens(self, grpc: TokenServiceServer<TokenService>, http: TokenEndpoint) -> Self {
        Self { tokens: Some(Arc::new(Tokens { grpc: Framing.layer(grpc), http })), ..self }
    }
}

/// The service that answers.
enum Route {
    Grpc,
    Http,
    Router,
}

impl Route {
    fn of<B>(request: &Request<B>) -> Self {
        let path = request.uri().path();
        if path == path::TOKEN && request.method() == Method::POST {
            return Self::Http;
        }
        let service = path.strip_prefix('/').and_then(|path| path.strip_prefix(SERVICE_NAME));
        let grpc = || {
            request.version() == Version::HTTP_2
                && request.method() == Method::POST
                && request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes) == Some(b"application/grpc")
        };
        if service.is_some_and(|method| method.starts_with('/')) && grpc() { Self::Grpc } else { Self::Router }
    }
}

impl Service<Request<Body>> for FastPath {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = FastPathFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // None of the three is ever busy.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> FastPathFuture {
        match (Route::of(&request), &self.tokens) {
            (Route::Grpc, Some(tokens)) => FastPathFuture::Grpc { inner: tokens.grpc.clone().call(request) },
            (Route::Http, Some(tokens)) => {
                let answer = tokens.http.clone().answer(request.map(axum::body::Body::new));
                FastPathFuture::Http { inner: Box::pin(answer.map(into_body)) }
            }
            (Route::Router, _) | (_, None) => {
                FastPathFuture::Router { inner: self.router.call(request).map_ok(into_body) }
            }
        }
    }
}

fn into_body(response: Response<axum::body::Body>) -> Response<Body> {
    response.map(Body::new)
}

type OverGrpc = <TokenServiceServer<TokenService> as Service<Request<Body>>>::Future;
type OverHttp = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type ByRouter = MapOk<RouteFuture<Infallible>, fn(Response<axum::body::Body>) -> Response<Body>>;

pin_project! {
    /// The response in progress.
    #[project = Answering]
    pub(crate) enum FastPathFuture {
        Grpc { #[pin] inner: FramedFuture<OverGrpc> },
        Http { inner: OverHttp },
        Router { #[pin] inner: ByRouter },
    }
}

impl Future for FastPathFuture {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Answering::Grpc { inner } => inner.poll(cx),
            Answering::Http { inner } => inner.as_mut().poll(cx).map(Ok),
            Answering::Router { inner } => inner.poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: Method, version: Version, path: &str, content_type: &'static str) -> Route {
        let request = Request::builder().method(method).version(version).uri(path).header(CONTENT_TYPE, content_type);
        Route::of(&request.body(()).unwrap())
    }

    #[test]
    fn ordinary_requests_for_tokens_go_past_the_router() {
        let grpc = route(Method::POST, Version::HTTP_2, "/m2m.token.v1.TokenService/IssueToken", "application/grpc");
        assert!(matches!(grpc, Route::Grpc));
        let http = route(Method::POST, Version::HTTP_11, path::TOKEN, "application/x-www-form-urlencoded");
        assert!(matches!(http, Route::Http));
    }

    /// Only the router's layers can answer these: gRPC-Web, gRPC over HTTP/1.1, other methods, other
    /// services.
    #[test]
    fn everything_unusual_goes_to_the_router() {
        let (post, http2, issue) = (Method::POST, Version::HTTP_2, "/m2m.token.v1.TokenService/IssueToken");
        for (method, version, path, content_type) in [
            (post.clone(), http2, issue, "application/grpc-web"),
            (post.clone(), Version::HTTP_11, issue, "application/grpc"),
            (Method::OPTIONS, http2, issue, "application/grpc"),
            (post.clone(), http2, "/m2m.token.v1.TokenServices/IssueToken", "application/grpc"),
            (post, http2, "/m2m.token.v1.TrustService/WatchTrust", "application/grpc"),
            (Method::OPTIONS, Version::HTTP_11, path::TOKEN, "application/x-www-form-urlencoded"),
        ] {
            let route = route(method.clone(), version, path, content_type);
            assert!(matches!(route, Route::Router), "{method} {version:?} {path} {content_type}");
        }
    }
}
