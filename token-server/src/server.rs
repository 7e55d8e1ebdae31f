//! The composition root: assembles the server, and runs it on one port until it is stopped.
//!
//! | stage | module |
//! |---|---|
//! | configuration → store, keys, issuer, admin services | `assembly` |
//! | limits on TCP connections; each goes to the least loaded worker | `accept`, `descriptors` |
//! | the peer behind a proxy; TLS; time limits | `proxy_protocol`, `tls`, `connection` |
//! | requests that violate HTTP | `inbound`, `conformance` |
//! | limits on concurrent requests, in all and of each peer | `admission`, `lateness`, `share` |
//! | a thread per core | `worker` |
//! | clients declared in a file | `declared` |
//! | decisions that can be audited | `recordable` |
//! | the admin services, behind this project's own layer, audited | `admin`, `guard`, `record` |
//! | gRPC, gRPC-Web and HTTP on one port | `routes` |
//! | decisions for proxies, on a port of their own | `ext_authz` |
//! | misconfigurations, found before the start | `preflight` |
//! | token requests, past the router | `front` |
//! | malformed gRPC messages | `framing` |
//! | health, metrics, traces | `health`, `timing`, `spans`, `operations` |
//! | shutdown | `drain` |

mod accept;
mod admission;
mod admin;
mod assembly;
mod conformance;
mod connection;
mod declared;
mod descriptors;
mod drain;
mod error;
mod ext_authz;
mod face;
mod framing;
mod front;
mod guard;
mod health;
mod inbound;
mod lateness;
mod names;
mod operations;
mod preflight;
mod proxy_protocol;
mod record;
mod recordable;
mod rest;
mod routes;
mod share;
mod spans;
mod standing;
mod timing;
mod tls;
mod worker;

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
pub use tls::TlsError;

use crate::{
    config::{Config, IssuerUrl, Limits},
    telemetry,
};
use admission::Admission;
use assembly::{Assembly, State};
use drain::EndOnDrain;
use health::Health;
use recordable::RecordableLayer;
use routes::{Extras, Services};
use tls::ReloadingTls;
use worker::{Phase, Port, Worker};

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
        let metrics = telemetry::metrics();
        let (listener, address) = bind(config.listen.address, "requests")?;
        let operations =
            config.listen.operations_address.map(|address| bind(address, "probes and metrics")).transpose()?;
        let asked = config.ext_authz.as_ref().map(|asked| bind(asked.address, "decisions for proxies")).transpose()?;
        let issuer_url = config.issuer.at_port(address.port());
        let tls = config.tls.as_ref().map(|files| ReloadingTls::load(files, "listen", Some(issuer_url.clone())));
        let tls = tls.transpose()?.map(Arc::new);
        let phase = watch::Sender::new(Phase::Serving);
        let health = Health::new();

        let probes = operations::probes(health.clone());
        let shown = operations::metrics(metrics.clone());
        let mut background = JoinSet::new();
        let operations_address = operations.as_ref().map(|(_, address)| *address);
        let limits = limits(&config);
        let (own, operations) = match operations {
            // Served from now on: a server that waits for the store is live, but not ready.
            Some((listener, _)) => {
                (None, Some(operations::serve(listener, probes.merge(shown), &limits, &mut background)?))
            }
            // No metrics: a TLS terminator on this host would expose them to every caller.
            None => (Some(probes), None),
        };
        let Assembly { issuer, admin, ext_authz, registrar, state } =
            assembly::assemble(&config, &issuer_url, clock).await?;
        let drain = EndOnDrain::new(phase.subscribe());
        let (reflection, traced) = (config.admin.reflection, config.telemetry.traces.is_some());
        let admission = Admission::new(&limits);
        let audit = telemetry::audit_lines();
        let recordable = RecordableLayer::new(audit.clone(), config.telemetry.audit_failure);
        let extras = Extras {
            reflection,
            admission: admission.clone(),
            recordable: recordable.clone(),
            traced,
            operations: own,
            registrar,
            drain,
        };
        let services = routes::services(Arc::clone(&issuer), admin, &health, extras)?;

        let mut accepting = JoinSet::new();
        let forwarding = Arc::new(config.listen.forwarding.clone());
        let port = Port::new(services.clone(), tls.clone(), &limits, phase.subscribe());
        let port = port.behind(&config.listen.proxy_protocol_from, forwarding);
        let mut workers = serve(listener, &port, config.listen.threads, &mut accepting)?;
        let mut tls: Vec<_> = tls.into_iter().collect();
        let mut ext_authz_address = None;
        if let (Some((listener, address)), Some(routes)) = (asked, ext_authz) {
            let own = ext_authz::tls(&config)?.map(Arc::new);
            tls.extend(own.clone());
            let port = Port::new(routes::only(routes, &admission, &recordable), own, &limits, phase.subscribe());
            workers.extend(serve(listener, &port, config.listen.threads, &mut accepting)?);
            ext_authz_address = Some(address);
        }

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
        self.workers.iter().map(|worker| worker.desk.connections()).collect()
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
    let desks = workers.iter().map(|worker| worker.desk.clone()).collect();
    accepting.spawn(accept::accept(listener, port.places.clone(), desks));
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
