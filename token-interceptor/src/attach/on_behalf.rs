//! The caller whom the program serves, carried from the server's layer to the client's. Handlers need not
//! know of either.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::task::futures::TaskLocalFuture;
use tower::{Layer, Service};

use crate::caller::Caller;

tokio::task_local! {
    static CURRENT: Option<Caller>;
}

/// Returns the caller on whose behalf the current task runs, inside a [`CarryCaller`].
#[must_use]
pub fn current_caller() -> Option<Caller> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// A server-side layer, inside of [`AuthorizationLayer`](crate::layer::AuthorizationLayer). While a handler
/// runs, and while its response stream is read, client layers act on behalf of its caller. Those are the
/// layers of [`AttachLayer::on_behalf_of_caller`](super::AttachLayer::on_behalf_of_caller).
///
/// A task that a handler spawns has no caller. Put the caller into the extensions of its requests:
/// `request.extensions_mut().insert(caller.clone())`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CarryCallerLayer;

/// The service behind a [`CarryCallerLayer`].
#[derive(Clone, Debug)]
pub struct CarryCaller<S>(S);

impl<S> Layer<S> for CarryCallerLayer {
    type Service = CarryCaller<S>;

    fn layer(&self, inner: S) -> CarryCaller<S> {
        CarryCaller(inner)
    }
}

impl<S, B, RB> Service<Request<B>> for CarryCaller<S>
where
    S: Service<Request<B>, Response = Response<RB>>,
{
    type Response = Response<CarryingBody<RB>>;
    type Error = S::Error;
    type Future = CarryingFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let caller = request.extensions().get::<Caller>().cloned();
        let inner = &mut self.0;
        // The caller is set also while the future is created: some handlers begin their work there.
        let future = CURRENT.sync_scope(caller.clone(), || inner.call(request));
        CarryingFuture { inner: CURRENT.scope(caller.clone(), future), caller }
    }
}

pin_project_lite::pin_project! {
    /// A handler's future that runs with its caller set.
    pub struct CarryingFuture<F> {
        #[pin]
        inner: TaskLocalFuture<Option<Caller>, F>,
        caller: Option<Caller>,
    }
}

impl<F, RB, E> Future for CarryingFuture<F>
where
    F: Future<Output = Result<Response<RB>, E>>,
{
    type Output = Result<Response<CarryingBody<RB>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let caller = &mut *this.caller;
        this.inner.poll(context).map_ok(|response| response.map(|inner| CarryingBody { inner, caller: caller.take() }))
    }
}

pin_project_lite::pin_project! {
    /// A handler's response stream that runs with its caller set.
    pub struct CarryingBody<B> {
        #[pin]
        inner: B,
        caller: Option<Caller>,
    }
}

impl<B: Body> Body for CarryingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        CURRENT.sync_scope(this.caller.clone(), || this.inner.poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
