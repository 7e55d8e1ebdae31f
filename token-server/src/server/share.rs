//! A peer's share of what is under way: a request counts from its head until the last of its answer has been taken.
//!
//! `admission` counts all peers' requests, and until the head of the answer. Alone it would let one peer take every place
//! with requests that never end, and keep as many answers in memory as its connections have streams, by a window that it
//! leaves closed.

use std::{
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    Request, Response, Version,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use metrics::{Counter, counter};
use pin_project_lite::pin_project;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{admission::SHED, face::Face};
use crate::{
    config::Limits,
    origin::{Origin, Peer},
};

/// Peers are counted by a hash that nobody else can compute, in a table of fixed size: without a lock, and without memory
/// that callers make grow. Two peers that meet in it share one share.
const COUNTS: usize = 16 * 1024;

/// Bounds what each peer has under way.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    max: usize,
    hash: RandomState,
    under_way: Box<[AtomicUsize]>,
    refused: Counter,
}

impl Shares {
    pub(super) fn new(limits: &Limits) -> Self {
        let max = if limits.requests_at_once_per_peer == 0 { usize::MAX } else { limits.requests_at_once_per_peer };
        let refused = counter!(SHED, "why" => "peer");
        refused.absolute(0);
        let under_way = (0..COUNTS).map(|_| AtomicUsize::new(0)).collect();
        Self(Arc::new(Counts { max, hash: RandomState::new(), under_way, refused }))
    }

    /// A place among the peer's own.
    fn place(&self, peer: Peer) -> Option<Place> {
        let number = usize::try_from(self.0.hash.hash_one(peer) % COUNTS as u64).ok()?;
        let before = self.0.under_way.get(number)?.fetch_add(1, Ordering::Relaxed);
        let place = Place { counts: Arc::clone(&self.0), number };
        (before < self.0.max).then_some(place)
    }
}

/// A request's place among its peer's; given back when dropped.
#[derive(Debug)]
struct Place {
    counts: Arc<Counts>,
    number: usize,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(under_way) = self.counts.under_way.get(self.number) {
            under_way.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl<S> Layer<S> for Shares {
    type Service = Shared<S>;

    fn layer(&self, inner: S) -> Shared<S> {
        Shared { inner, shares: self.clone() }
    }
}

/// A service that has no more under way for a peer than its share.
#[derive(Clone, Debug)]
pub(super) struct Shared<S> {
    inner: S,
    shares: Shares,
}

impl<S, A> Service<Request<A>> for Shared<S>
where
    S: Service<Request<A>, Response = Response<Body>>,
{
    type Response = Response<Held>;
    type Error = S::Error;
    type Future = SharedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.shares.place(Peer::of(request.extensions()).network()) {
            Some(place) => SharedFuture::Admitted { inner: self.inner.call(request), place: Some(place) },
            None => {
                self.shares.0.refused.increment(1);
                SharedFuture::Refused { answer: Some(refusal(&request)) }
            }
        }
    }
}

fn refusal<A>(request: &Request<A>) -> Response<Body> {
    let origin = Origin::of(request.headers(), request.extensions());
    let face = Face::of(request.headers());
    let mut answer = face.overloaded(&origin);
    if face == Face::Http && request.version() == Version::HTTP_2 {
        // A body would be one more answer that nobody takes.
        answer.headers_mut().remove(CONTENT_TYPE);
        answer.headers_mut().remove(CONTENT_LENGTH);
        *answer.body_mut() = Body::empty();
    }
    answer
}

pin_project! {
    /// The inner answer, which keeps the place, or a refusal, which has none.
    #[project = Sharing]
    pub(super) enum SharedFuture<F> {
        Refused { answer: Option<Response<Body>> },
        Admitted { #[pin] inner: F, place: Option<Place> },
    }
}

impl<F, E> Future for SharedFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<Held>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, place) = match self.project() {
            // Given once: a future that has ended is not asked again.
            Sharing::Refused { answer } => match answer.take() {
                Some(answer) => (answer, None),
                None => return Poll::Pending,
            },
            Sharing::Admitted { inner, place } => (ready!(inner.poll(cx))?, place.take()),
        };
        Poll::Ready(Ok(answer.map(|body| Held { body, _place: place })))
    }
}

pin_project! {
    /// An answer's body, and the place that it keeps until it is dropped: when the last of it has been taken.
    #[derive(Debug)]
    pub(super) struct Held {
        #[pin]
        body: Body,
        _place: Option<Place>,
    }
}

impl HttpBody for Held {
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

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        net::{IpAddr, Ipv4Addr},
    };

    use super::*;
    use crate::origin::{LastRead, Line};

    async fn ask(
        service: &mut impl Service<Request<()>, Response = Response<Held>, Error = Infallible>,
        n: u8,
        http: Version,
    ) -> Response<Held> {
        let peer = Peer::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n)));
        let line = Line { peer, last_read: LastRead::new() };
        service.call(Request::get("/jwks.json").version(http).extension(line).body(()).unwrap()).await.unwrap()
    }

    fn one_each() -> impl Service<Request<()>, Response = Response<Held>, Error = Infallible> {
        let shares = Shares::new(&Limits { requests_at_once_per_peer: 1, ..Limits::default() });
        shares.layer(tower::service_fn(async |_| Ok(Response::new(Body::new(axum::body::Body::from("answer"))))))
    }

    #[tokio::test]
    async fn an_answer_that_nobody_takes_keeps_its_peers_place_and_no_others() {
        let mut service = one_each();
        let kept = ask(&mut service, 1, Version::HTTP_2).await;
        assert_eq!(kept.status(), 200);
        assert_eq!(ask(&mut service, 1, Version::HTTP_2).await.status(), 429);
        assert_eq!(ask(&mut service, 2, Version::HTTP_2).await.status(), 200);
        drop(kept);
        assert_eq!(ask(&mut service, 1, Version::HTTP_2).await.status(), 200);
    }

    #[tokio::test]
    async fn a_refusal_over_http_2_has_nothing_that_waits_to_be_taken() {
        let mut service = one_each();
        let _kept = ask(&mut service, 1, Version::HTTP_2).await;
        assert!(ask(&mut service, 1, Version::HTTP_2).await.body().is_end_stream());
        assert!(!ask(&mut service, 1, Version::HTTP_11).await.body().is_end_stream(), "says why");
    }
}
