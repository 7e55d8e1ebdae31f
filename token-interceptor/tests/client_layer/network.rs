//! A simulated network with an issuer, an inventory service and one client.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use token_interceptor::{
    attach::{Attach, TokenLayer},
    clock::Clock,
    danger,
    source::{ClientCredentials, IssuerBuilder},
};
use tokio::time::Instant;
use tonic::transport::{Channel, server::Router};
use tower::Layer as _;

use crate::{
    callee::{self, Callee},
    inventory::{POLICY, inventory_service_client::InventoryServiceClient},
    issuer::{self, Issuer},
    simulated::{channel, connections},
};

/// One way, always. A call takes two of these, a new connection one more.
pub const LATENCY: Duration = Duration::from_millis(1);
/// A call that nothing delays is over by then.
pub const UNDELAYED: Duration = Duration::from_millis(8);

pub type Client = InventoryServiceClient<Attach<Channel>>;

/// What a test holds: both servers' switches, and the client's clock.
#[derive(Clone)]
pub struct World {
    pub issuer: Arc<Issuer>,
    pub callee: Arc<Callee>,
    pub clock: Arc<SimClock>,
    pub tokens: TokenLayer,
    pub client: Client,
}

/// Runs `test` as the client, for at most so much virtual time, to the millisecond.
pub fn simulate<F>(duration: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    run(duration, Duration::from_millis(1), test);
}

/// The same for what takes minutes, in steps of 20 ms.
pub fn simulate_coarsely<F>(duration: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    run(duration, Duration::from_millis(20), test);
}

fn run<F>(duration: Duration, tick: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    let mut sim = turmoil::Builder::new()
        .simulation_duration(duration)
        .tick_duration(tick)
        .min_message_latency(LATENCY)
        .max_message_latency(LATENCY)
        .tcp_capacity(1 << 16)
        .enable_tokio_io()
        .rng_seed(7)
        .build();
    let (issuer, callee) = host(&mut sim);
    sim.client("client", async move {
        test(World::new(issuer, callee)).await;
        Ok(())
    });
    sim.run().unwrap();
}

/// Adds the two servers.
pub fn host(sim: &mut turmoil::Sim<'_>) -> (Arc<Issuer>, Arc<Callee>) {
    let (issuer, callee) = (Arc::new(Issuer::default()), Arc::new(Callee::default()));
    let served = Arc::clone(&issuer);
    sim.host("issuer", move || serve(issuer::router(Arc::clone(&served))));
    let served = Arc::clone(&callee);
    sim.host("inventory", move || serve(callee::router(Arc::clone(&served))));
    (issuer, callee)
}

impl World {
    fn new(issuer: Arc<Issuer>, callee: Arc<Callee>) -> Self {
        let clock = Arc::new(SimClock::new());
        let shared: Arc<dyn Clock> = clock.clone();
        let tokens = Self::without_policy().policy(POLICY).clock(shared);
        let client = InventoryServiceClient::new(inventory(&tokens));
        Self { issuer, callee, clock, tokens, client }
    }

    /// The layer of a program that knows no policy.
    pub fn without_policy() -> TokenLayer {
        let reach = IssuerBuilder::grpc_channel(channel("issuer"), danger::AllowPlaintext);
        let source = ClientCredentials::new("orders", "tks_secret", reach).unwrap();
        TokenLayer::new(source)
    }
}

/// A channel to the callee whose calls carry tokens of this layer.
pub fn inventory(tokens: &TokenLayer) -> Attach<Channel> {
    tokens.any_destination(danger::AllowPlaintext).layer(channel("inventory"))
}

async fn serve(router: Router) -> turmoil::Result {
    router.serve_with_incoming(connections().await?).await?;
    Ok(())
}

/// The time of day of a machine whose clock the test sets, and which it can suspend.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    offset_millis: AtomicI64,
}

impl SimClock {
    fn new() -> Self {
        Self { start: Instant::now(), offset_millis: AtomicI64::new(0) }
    }

    /// Moves the time of day while monotonic time stands still: a suspended machine, or a clock that is set.
    pub fn jump(&self, millis: i64) {
        self.offset_millis.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn now(&self) -> SystemTime {
        let right = true_time(self.start);
        let offset = self.offset_millis.load(Ordering::SeqCst);
        if offset < 0 {
            right - Duration::from_millis(offset.unsigned_abs())
        } else {
            right + Duration::from_millis(offset.unsigned_abs())
        }
    }
}

/// What a clock shows that is right.
pub fn true_time(start: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + start.elapsed()
}
