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
    attach::{Attach, AttachLayer},
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

/// The latency of one message. A call takes two of these, a new connection one more.
pub const LATENCY: Duration = Duration::from_millis(1);
/// The longest time of a call without delay.
pub const UNDELAYED: Duration = Duration::from_millis(8);

pub type Client = InventoryServiceClient<Attach<Channel>>;

/// The test's handles: both servers' switches, and the client's clock.
#[derive(Clone)]
pub struct World {
    pub issuer: Arc<Issuer>,
    pub callee: Arc<Callee>,
    pub clock: Arc<SimClock>,
    pub tokens: AttachLayer,
    pub client: Client,
}

/// Runs `test` as the client, for at most `duration` of virtual time, in steps of 1 ms.
pub fn simulate<F>(duration: Duration, test: impl FnOnce(World) -> F + 'static)
where
    F: Future<Output = ()> + 'static,
{
    run(duration, Duration::from_millis(1), test);
}

/// Runs a longer test like `simulate`, in steps of 20 ms.
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

    /// Returns the layer of a program without a policy.
    pub fn without_policy() -> AttachLayer {
        let reach = IssuerBuilder::grpc_channel(channel("issuer"), danger::AllowPlaintext);
        let source = ClientCredentials::new("orders", "tks_secret", reach).unwrap();
        AttachLayer::new(source)
    }
}

/// Returns a channel to the callee whose calls carry tokens of this layer.
pub fn inventory(tokens: &AttachLayer) -> Attach<Channel> {
    tokens.any_destination(danger::AllowPlaintext).layer(channel("inventory"))
}

async fn serve(router: Router) -> turmoil::Result {
    router.serve_with_incoming(connections().await?).await?;
    Ok(())
}

/// The wall clock of a machine that the test can set and suspend.
#[derive(Debug)]
pub struct SimClock {
    start: Instant,
    offset_millis: AtomicI64,
}

impl SimClock {
    fn new() -> Self {
        Self { start: Instant::now(), offset_millis: AtomicI64::new(0) }
    }

    /// Moves the wall clock while monotonic time stands still: the machine was suspended, or its clock was
    /// set.
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

/// Returns the time of a correct clock.
pub fn true_time(start: Instant) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + start.elapsed()
}
