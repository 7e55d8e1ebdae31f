//! The layer around the services of gRPC, outside of every limit but the peer's.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{
    contract::{Contract, is_exact_method_path},
    request,
};
use crate::grpc::is_grpc;

/// The error for an embedded descriptor set that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the embedded descriptor set cannot be read")]
pub(crate) struct Unusable;

/// A layer that makes [`Connect`].
#[derive(Clone, Debug)]
pub(crate) struct ConnectLayer {
    /// The path below which methods are served besides the root. `None` on a port that does not serve them.
    prefix: Option<Arc<str>>,
}

impl ConnectLayer {
    /// A layer that translates at the root and below `prefix`, which is the issuer's path or empty.
    pub(crate) fn new(prefix: &str) -> Result<Self, Unusable> {
        Contract::embedded().ok_or(Unusable)?;
        Ok(Self { prefix: Some(prefix.into()) })
    }

    /// A layer that translates nothing.
    pub(crate) fn off() -> Self {
        Self { prefix: None }
    }
}

impl<S> Layer<S> for ConnectLayer {
    type Service = Connect<S>;

    fn layer(&self, inner: S) -> Connect<S> {
        Connect { inner, prefix: self.prefix.clone() }
    }
}

/// A service of gRPC that also answers the Connect protocol.
#[derive(Clone, Debug)]
pub(crate) struct Connect<S> {
    inner: S,
    prefix: Option<Arc<str>>,
}

impl<S> Connect<S> {
    /// Returns the path of the method that the request calls, without the prefix.
    fn method_path<B>(&self, request: &Request<B>) -> Option<String> {
        let prefix = self.prefix.as_deref()?;
        let path = request.uri().path();
        let path = path.strip_prefix(prefix).unwrap_or(path);
        (!is_grpc(request.headers()) && is_exact_method_path(path)).then(|| path.to_owned())
    }
}

impl<S> Service<Request<Body>> for Connect<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ConnectFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(path) = self.method_path(&request) else {
            return ConnectFuture::Direct { inner: self.inner.call(request) };
        };
        match request::read(request, &path) {
            Ok((request, answering)) => {
                let response = self.inner.call(request);
                let inner = Box::pin(async move { Ok(answering.translate(response.await?).await) });
                ConnectFuture::Translated { inner }
            }
            Err(answer) => ConnectFuture::Translated { inner: Box::pin(std::future::ready(Ok(*answer))) },
        }
    }
}

type Translated = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

pin_project! {
    /// The response in progress.
    #[project = Projected]
    pub(crate) enum ConnectFuture<F> {
        Direct { #[pin] inner: F },
        Translated { inner: Translated },
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ConnectFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project() {
            Projected::Direct { inner } => inner.poll(cx),
            Projected::Translated { inner } => inner.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(layer: &ConnectLayer, path: &str, content_type: &str) -> Option<String> {
        let request = Request::post(path).header("content-type", content_type).body(()).unwrap();
        layer.layer(()).method_path(&request)
    }

    #[test]
    fn methods_are_found_at_the_root_and_below_the_issuers_path() {
        const KEYS: &str = "/m2m.token.v1.TrustService/ListKeys";
        let (root, below) = (ConnectLayer::new("").unwrap(), ConnectLayer::new("/sso").unwrap());
        let prefixed = format!("/sso{KEYS}");
        for (layer, asked, found) in [
            (&root, KEYS, Some(KEYS)),
            (&root, &*prefixed, None),
            (&below, KEYS, Some(KEYS)),
            (&below, &*prefixed, Some(KEYS)),
            (&below, "/sso/sso/m2m.token.v1.TrustService/ListKeys", None),
            (&below, "/ssom2m.token.v1.TrustService/ListKeys", None),
            (&below, "//m2m.token.v1.TrustService/ListKeys", None),
            (&below, "/oauth/token", None),
            (&ConnectLayer::off(), KEYS, None),
        ] {
            assert_eq!(path(layer, asked, "application/json").as_deref(), found, "{asked}");
            assert_eq!(path(layer, asked, "application/grpc-web+proto"), None, "{asked}");
        }
    }
}
