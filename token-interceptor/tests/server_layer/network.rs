//! A simulated network with an issuer that serves its metadata and keys over HTTP, and a protected service.

use std::{convert::Infallible, future::Future, io, net::SocketAddr, time::Duration};

use http::{Request, Response};
use token_interceptor::{
    danger::AllowPlaintext,
    http_client::HttpClient,
    layer::AuthorizationLayer,
    verify::{TrustedIssuer, Verifier},
};
use token_proto::policy::Requirement;
use tonic::{Code, Status, body::Body};
use tonic_types::StatusExt as _;
use tower::{Layer as _, ServiceExt as _};

use crate::{
    http_issuer::{HttpIssuer, Metadata},
    simulated::{Io, connect, listen},
};

/// The test's handles: the issuer's switches, and the service that trusts it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) verifier: Verifier,
    pub(crate) issuer: HttpIssuer,
    layer: AuthorizationLayer,
}

/// Runs `test` beside the issuer, for at most `duration` of virtual time.
pub(crate) fn simulate<F>(duration: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    simulate_with(duration, |trusted| trusted, test);
}

/// Runs `test` with settings of the trusted issuer.
pub(crate) fn simulate_with<F>(
    duration: Duration,
    choose: impl FnOnce(TrustedIssuer) -> TrustedIssuer + 'static,
    test: impl FnOnce(World) -> F + 'static,
) where
    F: Future<Output = ()> + 'static,
{
    let mut sim = simulation(duration);
    let issuer = HttpIssuer::new("http://issuer".to_owned(), "", Metadata::OpenId);
    let served = issuer.clone();
    sim.host("issuer", move || {
        let router = served.router();
        async move {
            let listener = listen().await?;
            axum::serve(Listener(listener), router).await?;
            Ok(())
        }
    });
    sim.client("service", async move {
        let http =
            HttpClient::builder().plaintext(AllowPlaintext).build_on(tower::service_fn(|uri| Box::pin(connect(uri))));
        let trusted = choose(TrustedIssuer::discover(issuer.identifier())?.http_client(http));
        let verifier = Verifier::builder().issuer(trusted).clock(issuer.signer.clock()).build()?;
        let layer = AuthorizationLayer::requiring(verifier.clone(), "inventory", Requirement::any_token());
        test(World { issuer, verifier, layer }).await;
        Ok(())
    });
    sim.run().unwrap();
}

/// Returns a network on which every message takes a millisecond.
pub(crate) fn simulation(duration: Duration) -> turmoil::Sim<'static> {
    let tick = if duration > Duration::from_secs(600) { Duration::from_millis(100) } else { Duration::from_millis(1) };
    turmoil::Builder::new()
        .simulation_duration(duration)
        .tick_duration(tick)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1))
        .enable_tokio_io()
        .rng_seed(7)
        .build()
}

impl World {
    /// Makes one call through the layer; the handler answers at once.
    pub(crate) async fn call(&self, token: &str) -> Result<(), Status> {
        call(&self.layer, token).await
    }

    /// Returns a token that names a key which the issuer may or may not have.
    pub(crate) fn token_of_key(&self, key_id: &str) -> String {
        self.issuer.signer.token().header("kid", key_id).sign()
    }
}

/// Makes one call through `layer`; the handler answers at once.
pub(crate) async fn call(layer: &AuthorizationLayer, token: &str) -> Result<(), Status> {
    let inner = tower::service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) });
    let mut request = Request::new(Body::empty());
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    Status::from_header_map(response.headers()).map_or(Ok(()), Err)
}

/// Returns the reason of a refusal.
pub(crate) fn reason(refused: Result<(), Status>) -> String {
    refused.unwrap_err().get_details_error_info().unwrap().reason
}

/// Expects UNAVAILABLE, and returns the time to wait.
pub(crate) fn retry_after(refused: Result<(), Status>) -> Duration {
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.get_details_error_info().unwrap().reason, "TRUST_UNAVAILABLE");
    status.get_details_retry_info().unwrap().retry_delay.unwrap()
}

struct Listener(turmoil::net::TcpListener);

impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        let (stream, address) = self.0.accept().await.unwrap();
        (Io(stream), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
