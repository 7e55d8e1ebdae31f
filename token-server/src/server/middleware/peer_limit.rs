//! A peer's share of the requests in flight and of their bytes. A request counts from its head until the peer
//! has received the whole response.
//!
//! `concurrency_limit` counts all peers together, and only until the response's head. On its own, it would
//! let one peer take every permit with endless requests. The peer could also fill the memory with unfinished
//! bodies. Or it could pin one response per stream in memory by never opening its flow-control window.

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
use token_issuer::origin::Peer;
use tonic::body::Body;
use tower::{Layer, Service};

use super::{concurrency_limit::SHED, conformance::header_bytes, protocol::Protocol};
use crate::config::Limits;
use crate::connection;

/// The number of slots. Peers share a table of fixed size, indexed by a keyed hash that an attacker cannot
/// compute. It needs no lock, and callers cannot make it grow. Two peers with the same slot share one limit.
const COUNTS: usize = 16 * 1024;

/// A limit on each peer's requests and bytes in flight.
#[derive(Clone, Debug)]
pub(crate) struct PeerLimitLayer(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    requests_max: usize,
    bytes_max: usize,
    hash: RandomState,
    in_flight: Box<[InFlight]>,
    refused: Counter,
    refused_by_bytes: Counter,
}

/// The requests and bytes that one peer has in flight.
#[derive(Debug, Default)]
struct InFlight {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl PeerLimitLayer {
    pub(crate) fn new(limits: &Limits) -> Self {
        let unless_zero = |max| if max == 0 { usize::MAX } else { max };
        let shed = |why| {
            let counter = counter!(SHED, "why" => why);
            counter.absolute(0);
            counter
        };
        Self(Arc::new(Counts {
            requests_max: unless_zero(limits.requests_at_once_per_peer),
            bytes_max: unless_zero(limits.bytes_at_once_per_peer),
            hash: RandomState::new(),
            in_flight: (0..COUNTS).map(|_| InFlight::default()).collect(),
            refused: shed("peer"),
            refused_by_bytes: shed("peer_bytes"),
        }))
    }

    /// Returns the peer's slot.
    fn of(&self, peer: Peer) -> usize {
        usize::try_from(self.0.hash.hash_one(peer.network()) % COUNTS as u64).unwrap_or(0)
    }

    /// Returns a permit for a request with a head of that many bytes, if the peer is within its limits.
    fn permit(&self, peer: Peer, head_bytes: usize) -> Option<Permit> {
        let number = self.of(peer);
        let before = self.0.in_flight.get(number)?.requests.fetch_add(1, Ordering::Relaxed);
        let permit = Permit { counts: Arc::clone(&self.0), number, bytes: AtomicUsize::new(0) };
        if before >= self.0.requests_max {
            self.0.refused.increment(1);
            return None;
        }
        permit.charge(head_bytes).then_some(permit)
    }

    /// Starts to count the bytes of an incomplete head.
    pub(crate) fn head(&self, peer: Peer) -> Arc<HeadBytes> {
        Arc::new(HeadBytes { number: self.of(peer), counts: Arc::clone(&self.0), bytes: AtomicUsize::new(0) })
    }
}

impl Counts {
    /// Charges bytes to a slot. Returns true if the peer stays within its limit.
    fn charge(&self, number: usize, bytes: usize) -> bool {
        let Some(in_flight) = self.in_flight.get(number) else { return false };
        let before = in_flight.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = before.saturating_add(bytes) <= self.bytes_max;
        if !fits {
            self.refused_by_bytes.increment(1);
        }
        fits
    }

    fn release(&self, number: usize, bytes: usize) {
        if let Some(in_flight) = self.in_flight.get(number) {
            in_flight.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }
}

/// A permit for a request, and the bytes that it holds. Released on drop.
#[derive(Debug)]
struct Permit {
    counts: Arc<Counts>,
    number: usize,
    bytes: AtomicUsize,
}

impl Permit {
    fn charge(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.charge(self.number, bytes)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counts.release(self.number, *self.bytes.get_mut());
        if let Some(in_flight) = self.counts.in_flight.get(self.number) {
            in_flight.requests.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The bytes of a connection's incomplete head, released on drop.
#[derive(Debug)]
pub(crate) struct HeadBytes {
    counts: Arc<Counts>,
    number: usize,
    bytes: AtomicUsize,
}

impl HeadBytes {
    /// Charges more bytes. Returns true if the peer stays within its limit.
    pub(crate) fn charge(&self, bytes: usize) -> bool {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.charge(self.number, bytes)
    }

    /// Releases the bytes of a complete head, which counts as part of its request from now on.
    pub(crate) fn release(&self) {
        self.counts.release(self.number, self.bytes.swap(0, Ordering::Relaxed));
    }
}

impl Drop for HeadBytes {
    fn drop(&mut self) {
        self.release();
    }
}

impl<S> Layer<S> for PeerLimitLayer {
    type Service = PeerLimit<S>;

    fn layer(&self, inner: S) -> PeerLimit<S> {
        PeerLimit { inner, peer_limit: self.clone() }
    }
}

/// A service that limits each peer to its share.
#[derive(Clone, Debug)]
pub(crate) struct PeerLimit<S> {
    inner: S,
    peer_limit: PeerLimitLayer,
}

impl<S, A> Service<Request<A>> for PeerLimit<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    A: HttpBody<Data = Bytes> + Send + 'static,
    A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<CountedBody>;
    type Error = S::Error;
    type Future = PeerLimitFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        match self.peer_limit.permit(connection::peer(request.extensions()), header_bytes(request.headers())) {
            Some(permit) => {
                let permit = Arc::new(permit);
                let metered = |body| Body::new(Metered { body, permit: Arc::clone(&permit) });
                PeerLimitFuture::Admitted { inner: self.inner.call(request.map(metered)), permit: Some(permit) }
            }
            None => PeerLimitFuture::Refused { answer: Some(refusal(&request)) },
        }
    }
}

pin_project! {
    /// A request's body, whose bytes are charged to its peer until the request ends.
    struct Metered<A> {
        #[pin]
        body: A,
        permit: Arc<Permit>,
    }
}

impl<A> HttpBody for Metered<A>
where
    A: HttpBody<Data = Bytes>,
    A::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let this = self.project();
        Poll::Ready(match ready!(this.body.poll_frame(cx)) {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                Some(if this.permit.charge(bytes) { Ok(frame) } else { Err(too_many_bytes()) })
            }
            Some(Err(error)) => Some(Err(tonic::Status::from_error(error.into()))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The error for the reader of a body whose peer has too many bytes in flight.
fn too_many_bytes() -> tonic::Status {
    crate::grpc::status::overloaded(&connection::unknown_origin())
}

fn refusal<A>(request: &Request<A>) -> Response<Body> {
    let origin = connection::origin(request.headers(), request.extensions());
    let protocol = Protocol::arrived(request);
    let mut answer = protocol.overloaded(&origin);
    if protocol != Protocol::Grpc && request.version() == Version::HTTP_2 {
        // A body would be another response that the peer may never read.
        answer.headers_mut().remove(CONTENT_TYPE);
        answer.headers_mut().remove(CONTENT_LENGTH);
        *answer.body_mut() = Body::empty();
    }
    answer
}

pin_project! {
    /// The inner response, which keeps the permit, or a rejection without one.
    #[project = Sharing]
    pub(crate) enum PeerLimitFuture<F> {
        Refused { answer: Option<Response<Body>> },
        Admitted { #[pin] inner: F, permit: Option<Arc<Permit>> },
    }
}

impl<F, E> Future for PeerLimitFuture<F>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = Result<Response<CountedBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (answer, permit) = match self.project() {
            // Taken once: a completed future is not polled again.
            Sharing::Refused { answer } => match answer.take() {
                Some(answer) => (answer, None),
                None => return Poll::Pending,
            },
            Sharing::Admitted { inner, permit } => (ready!(inner.poll(cx))?, permit.take()),
        };
        Poll::Ready(Ok(answer.map(|body| CountedBody { body, _permit: permit })))
    }
}

pin_project! {
    /// A response body with its permit, which is released on drop, after the last byte is taken.
    #[derive(Debug)]
    pub(crate) struct CountedBody {
        #[pin]
        body: Body,
        _permit: Option<Arc<Permit>>,
    }
}

impl CountedBody {
    /// Wraps the response to a request that never had a permit.
    pub(crate) fn without_permit(body: Body) -> Self {
        Self { body, _permit: None }
    }
}

impl HttpBody for CountedBody {
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
    use crate::connection::ConnectionInfo;

    fn from(n: u8) -> ConnectionInfo {
        ConnectionInfo::new(Peer::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, n))), false)
    }

    async fn ask(
        service: &mut impl Service<Request<Body>, Response = Response<CountedBody>, Error = Infallible>,
        n: u8,
        http: Version,
    ) -> Response<CountedBody> {
        let request = Request::get("/jwks.json").version(http).extension(from(n)).body(Body::empty());
        service.call(request.unwrap()).await.unwrap()
    }

    fn one_each() -> impl Service<Request<Body>, Response = Response<CountedBody>, Error = Infallible> {
        let peer_limit = PeerLimitLayer::new(&Limits { requests_at_once_per_peer: 1, ..Limits::default() });
        peer_limit.layer(tower::service_fn(async |_| Ok(Response::new(Body::new(axum::body::Body::from("answer"))))))
    }

    /// Answers 200 with the bytes of the request, or 400 if its body cannot be read.
    fn echo(bytes_max: usize) -> impl Service<Request<Body>, Response = Response<CountedBody>, Error = Infallible> {
        let peer_limit = PeerLimitLayer::new(&Limits { bytes_at_once_per_peer: bytes_max, ..Limits::default() });
        peer_limit.layer(tower::service_fn(async |request: Request<Body>| {
            Ok(match http_body_util::BodyExt::collect(request.into_body()).await {
                Ok(body) => Response::new(Body::new(axum::body::Body::from(body.to_bytes()))),
                Err(error) if error.code() == tonic::Code::ResourceExhausted => {
                    Response::builder().status(429).body(Body::empty()).unwrap()
                }
                Err(error) => panic!("{error}"),
            })
        }))
    }

    fn post(n: u8, bytes: usize) -> Request<Body> {
        let body = Body::new(axum::body::Body::from(vec![b'x'; bytes]));
        Request::post("/oauth/token").version(Version::HTTP_2).extension(from(n)).body(body).unwrap()
    }

    #[tokio::test]
    async fn bytes_in_flight_are_bounded_for_each_peer() {
        let mut service = echo(100_000);
        let first = service.call(post(1, 60_000)).await.unwrap();
        assert_eq!(first.status(), 200);
        assert_eq!(service.call(post(1, 60_000)).await.unwrap().status(), 429);
        assert_eq!(service.call(post(2, 60_000)).await.unwrap().status(), 200, "another peer");
        drop(first);
        for _ in 0..100 {
            assert_eq!(service.call(post(1, 60_000)).await.unwrap().status(), 200, "given back");
        }
    }

    #[tokio::test]
    async fn heads_count_as_bytes_in_flight() {
        let mut service = echo(10_000);
        let with_head = |bytes: usize| {
            let mut request = post(1, 0);
            request.headers_mut().insert("x-long", http::HeaderValue::try_from("x".repeat(bytes)).unwrap());
            request
        };
        let first = service.call(with_head(6_000)).await.unwrap();
        assert_eq!(service.call(with_head(6_000)).await.unwrap().status(), 429);
        drop(first);
        assert_eq!(service.call(with_head(6_000)).await.unwrap().status(), 200);
    }

    #[test]
    fn bytes_of_unfinished_heads_are_given_back() {
        let peer_limit = PeerLimitLayer::new(&Limits { bytes_at_once_per_peer: 10, ..Limits::default() });
        let first = peer_limit.head(from(1).peer);
        assert!(first.charge(6) && first.charge(4) && !first.charge(1));
        let other = peer_limit.head(from(1).peer);
        assert!(!other.charge(1));
        first.release();
        assert!(other.charge(9));
        drop(other);
        assert!(peer_limit.head(from(1).peer).charge(10));
    }

    #[tokio::test]
    async fn an_untaken_answer_keeps_its_peers_permit_and_no_other() {
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
