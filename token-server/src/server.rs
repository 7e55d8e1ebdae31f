//! The composition root: assembles the server, and runs it on one port until it is stopped.
//!
//! | part | modules |
//! |---|---|
//! | connections: accepted, bounded, behind proxies, over TLS | `transport` |
//! | layers: limits, audit, timing, spans, the fast path for tokens | `middleware` |
//! | health, and the routes of every protocol with their layers | `health`, `routes` |
//! | a port, its connections, and a thread per core | `port`, `inbound`, `connection`, `worker` |
//! | probes and metrics on a port of their own | `operations` |
//! | configuration → store, keys, issuer | `assembly`, `client_file_watch`, `names` |
//! | the admin services | `admin`, `guard` |
//! | decisions for proxies, on a port of their own | `ext_authz` |
//! | findings about a configuration before it starts | `preflight` |
//!
//! A module uses only the modules above it. This one starts and stops the server.

mod transport;
mod middleware;
mod error;
mod guard;
mod names;
mod health;
mod routes;
mod port;
mod inbound;
mod connection;
mod worker;
mod operations;
mod client_file_watch;
mod admin;
mod ext_authz;
mod assembly;
mod preflight;

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use futures_util::future::join_all;
use http::{Request, Response};
use metrics_exporter_prometheus::PrometheusHandle;
use token_interceptor::clock::{Clock, SystemClock};
use token_issuer::issuer::Issuer;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use tonic::body::Body;
use tower::Service;

pub use assembly::{check, open_store, peppers, rules};
pub use error::ServeError;
pub use preflight::{Finding, Severity, findings};
pub use transport::tls::TlsError;

use crate::{
    config::{Config, IssuerUrl, Limits},
    telemetry,
};
use assembly::{Assembly, State};
use health::Health;
use middleware::{concurrency_limit::ConcurrencyLimitLayer, drain::EndOnDrain, recordable::RecordableLayer};
use port::Port;
use routes::{Extras, Services};
use transport::{accept, descriptors, phase::Phase, tls::ReloadingTls};
use worker::Worker;

/// The interval at which histograms are emptied into their buckets, even if the metrics are not read.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// Serves until `shutdown` resolves, and then until the requests in flight have ended.
///
/// # Errors
///
/// When the server cannot start.
pub async fn run(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
    let running = Running::start(config).await?;
    shutdown.await;
    running.shutdown().await;
    Ok(())
}

/// A running server. If it is dropped without [`Running::shutdown`], it stops at once.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    operations_address: Option<SocketAddr>,
    ext_authz_address: Option<SocketAddr>,
    issuer_url: IssuerUrl,
    issuer: Arc<Issuer>,
    services: Services,
    phase: watch::Sender<Phase>,
    health: Health,
    /// The TLS configuration of each port that has one.
    tls: Vec<Arc<ReloadingTls>>,
    drain_deadline: Duration,
    workers: Vec<Worker>,
    /// The operators' port, which is served until everything else has ended.
    operations: Option<(Worker, watch::Sender<Phase>)>,
    accepting: JoinSet<()>,
    background: JoinSet<()>,
    /// The state. It is taken when the server closes.
    state: Option<State>,
}

impl Running {
    /// Starts a server by the machine's clock.
    ///
    /// # Errors
    ///
    /// When the port is taken, or certificates, keys or the store cannot be used.
    pub async fn start(config: Config) -> Result<Self, ServeError> {
        Self::start_at(config, SystemClock::shared()).await
    }

    /// Starts a server by another clock, for tests.
    ///
    /// # Errors
    ///
    /// As [`Running::start`].
    #[expect(clippy::too_many_lines, reason = "the steps of the start, each once and in order")]
    pub async fn start_at(config: Config, clock: Arc<dyn Clock>) -> Result<Self, ServeError> {
        // Record metrics from the first step on.
        let metrics = telemetry::metrics();

        // Bind the ports: a port that is taken is reported before anything else starts.
        let (listener, address) = bind(config.listen.address, "requests")?;
        let operations =
            config.listen.operations_address.map(|address| bind(address, "probes and metrics")).transpose()?;
        let ext_authz =
            config.ext_authz.as_ref().map(|settings| bind(settings.address, "decisions for proxies")).transpose()?;
        let issuer_url = config.issuer.at_port(address.port());

        // Load the certificates of the main port.
        let main_tls = config.tls.as_ref().map(|files| ReloadingTls::load(files, "listen", Some(issuer_url.clone())));
        let main_tls = main_tls.transpose()?.map(Arc::new);

        // Serve probes and metrics: a server that waits for its store is alive, and not ready.
        let phase = watch::Sender::new(Phase::Serving);
        let health = Health::new();
        let probes = operations::probes(health.clone());
        let mut background = JoinSet::new();
        let operations_address = operations.as_ref().map(|(_, address)| *address);
        let limits = limits(&config);
        let (probes_on_main, operations) = match operations {
            Some((listener, _)) => {
                let routes = probes.merge(operations::metrics(metrics.clone()));
                (None, Some(operations::serve(listener, routes, &limits, &mut background)?))
            }
            // No metrics: a TLS terminator on this host would expose them to every caller.
            None => (Some(probes), None),
        };

        // Assemble the store, the keys, the issuer and the admin services.
        let Assembly { issuer, admin, ext_authz: decisions, registrar, state } =
            assembly::assemble(&config, &issuer_url, clock).await?;
        let drain = EndOnDrain::new(phase.subscribe());
        let (reflection, traced) = (config.admin.reflection, config.telemetry.traces.is_some());
        let concurrency_limit = ConcurrencyLimitLayer::new(&limits);
        let audit = telemetry::audit_lines();
        let recordable = RecordableLayer::new(audit.clone(), config.telemetry.audit_failure);
        let extras = Extras {
            reflection,
            concurrency_limit: concurrency_limit.clone(),
            recordable: recordable.clone(),
            traced,
            operations: probes_on_main,
            registrar,
            drain,
        };
        let services = routes::services(Arc::clone(&issuer), admin, &health, extras)?;

        // Serve the main port.
        let mut accepting = JoinSet::new();
        let forwarding = Arc::new(config.listen.forwarding.clone());
        let port = Port::new(services.clone(), main_tls.clone(), &limits, phase.subscribe());
        let port = port.behind(&config.listen.proxy_protocol_from, forwarding);
        let mut workers = serve(listener, &port, config.listen.threads, &mut accepting)?;

        // Serve decisions for proxies.
        let mut tls: Vec<_> = main_tls.into_iter().collect();
        let mut ext_authz_address = None;
        if let (Some((listener, address)), Some(routes)) = (ext_authz, decisions) {
            let ext_authz_tls = ext_authz::tls(&config)?.map(Arc::new);
            tls.extend(ext_authz_tls.clone());
            let services = routes::only(routes, &concurrency_limit, &recordable);
            let port = Port::new(services, ext_authz_tls, &limits, phase.subscribe());
            workers.extend(serve(listener, &port, config.listen.threads, &mut accepting)?);
            ext_authz_address = Some(address);
        }

        // Watch files, the audit stream and the store in the background.
        background.spawn(keep_up(metrics));
        if let Some(audit) = audit {
            background.spawn(health.clone().watch_audit(audit));
        }
        state.watch(&health, &mut background);
        for tls in &tls {
            background.spawn(Arc::clone(tls).watch());
        }
        health.set_serving(true).await;
        let drain_deadline = config.limits.drain_deadline;
        Ok(Self {
            address,
            operations_address,
            ext_authz_address,
            issuer_url,
            issuer,
            services,
            phase,
            health,
            tls,
            drain_deadline,
            workers,
            operations,
            accepting,
            background,
            state: Some(state),
        })
    }

    /// Returns the address that it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address of metrics and health, if they have a port of their own.
    #[must_use]
    pub fn operations_addr(&self) -> Option<SocketAddr> {
        self.operations_address
    }

    /// Returns the address at which proxies ask for decisions, if that is enabled.
    #[must_use]
    pub fn ext_authz_addr(&self) -> Option<SocketAddr> {
        self.ext_authz_address
    }

    /// The issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &IssuerUrl {
        &self.issuer_url
    }

    /// Returns the service behind the port, for callers that send requests without a socket.
    #[must_use]
    pub fn service(
        &self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + use<> {
        self.services.clone()
    }

    /// Returns the number of connections of each worker.
    #[must_use]
    pub fn connections(&self) -> Vec<usize> {
        self.workers.iter().map(|worker| worker.queue.connections()).collect()
    }

    /// Reloads the certificate files, and the file that declares the clients if there is one, without waiting
    /// for the next interval. Reopens the audit file.
    pub fn reload(&self) {
        telemetry::reopen();
        for tls in &self.tls {
            tls.reload_and_report();
        }
        if let Some(declared) = self.state.as_ref().and_then(State::declared) {
            declared.wake();
        }
    }

    /// Accepts no more connections, lets requests in flight end within the drain deadline, and stops.
    pub async fn shutdown(self) {
        self.shutdown_unless(std::future::pending()).await;
    }

    /// The same, but waits for requests in flight only until `impatient` resolves.
    pub async fn shutdown_unless(mut self, impatient: impl Future<Output = ()>) {
        self.health.set_serving(false).await;
        self.issuer.close();
        self.phase.send_replace(Phase::Draining);
        self.accepting.shutdown().await;
        let mut done = pin!(join_all(self.workers.drain(..).map(|worker| worker.done)));
        let waited_enough = tokio::select! {
            _ = &mut done => None,
            () = tokio::time::sleep(self.drain_deadline) => Some("requests were still in flight at the drain deadline; stopping anyway"),
            () = impatient => Some("second stop signal; stopping without waiting for requests in flight"),
        };
        if let Some(why) = waited_enough {
            tracing::warn!("{why}");
            self.phase.send_replace(Phase::Stopped);
            done.await;
        }
        if let Some((worker, phase)) = self.operations.take() {
            phase.send_replace(Phase::Stopped);
            // The receive fails if the thread has already ended.
            let _ = worker.done.await;
        }
        self.background.shutdown().await;
        if let Some(state) = self.state.take() {
            state.close().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Stopped);
    }
}

async fn keep_up(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

fn bind(address: SocketAddr, what: &'static str) -> Result<(TcpListener, SocketAddr), ServeError> {
    let listener = accept::bind(address);
    let bound = listener.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    let (listener, address) = bound.map_err(|source| ServeError::bind(address, source))?;
    tracing::info!(%address, "listening for {what}");
    Ok((listener, address))
}

/// Starts the workers of a port, and the acceptor that assigns their connections.
fn serve(
    listener: TcpListener,
    port: &Port,
    threads: usize,
    accepting: &mut JoinSet<()>,
) -> Result<Vec<Worker>, ServeError> {
    let workers = (0..threads.max(1)).map(|number| Worker::start(number, port.clone()));
    let workers = workers.collect::<Result<Vec<_>, _>>().map_err(ServeError::internal)?;
    let queues = workers.iter().map(|worker| worker.queue.clone()).collect();
    accepting.spawn(accept::accept(listener, port.connection_limits.clone(), queues));
    Ok(workers)
}

/// Returns the configured limits. Connections are also bounded by the file descriptors.
fn limits(config: &Config) -> Limits {
    let ports = 1 + usize::from(config.ext_authz.is_some());
    let reserved = config.listen.operations_address.map_or(0, |_| operations::CONNECTIONS_MAX);
    let workers = ports * config.listen.threads + 1;
    let connections = descriptors::connections_max(config.limits.connections, ports, workers, reserved);
    Limits { connections, ..config.limits.clone() }
}
