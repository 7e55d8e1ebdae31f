//! Workers: one per core, each with its own thread and runtime. The work of a connection stays on its core.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};

use super::{
    accept::{Arrival, Desk, Places},
    connection, lateness,
    routes::Services,
    share::Shares,
    tls::ReloadingTls,
};
use crate::{
    config::Limits,
    connection::{Forwarding, Network},
};

/// The smallest head buffer that hyper accepts.
const HTTP_1_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// The time of silence after which a peer is pinged ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// ... and the time within which it must answer.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// The phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Accepts connections.
    Serving,
    /// Accepts no connections, and finishes the requests in flight.
    Draining,
    /// Waits for nothing any more.
    Stopped,
}

/// The configuration and services that all workers of a port share.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) services: Services,
    pub(super) tls: Option<Arc<ReloadingTls>>,
    pub(super) limits: Limits,
    pub(super) shares: Shares,
    pub(super) places: Places,
    pub(super) forwarding: Arc<Forwarding>,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) http: auto::Builder<TokioExecutor>,
}

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) desk: Desk,
    /// Resolves when the worker's thread is about to end.
    pub(super) done: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// If the system has no more threads or file descriptors.
    pub(super) fn start(number: usize, port: Port) -> io::Result<Self> {
        let mut runtime = runtime::Builder::new_current_thread();
        runtime.enable_all().on_thread_park(lateness::look).on_thread_unpark(lateness::found);
        let runtime = runtime.build()?;
        let (desk, arrivals) = Desk::new();
        let (ended, done) = oneshot::channel();
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(port.serve(arrivals));
            // Closes the remaining connections.
            drop(runtime);
            // The receiver is gone if the server was dropped without a shutdown.
            let _ = ended.send(());
        })?;
        Ok(Self { desk, done })
    }
}

impl Port {
    /// Creates a port that trusts no proxy.
    pub(super) fn new(
        services: Services,
        tls: Option<Arc<ReloadingTls>>,
        limits: &Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let (shares, places) = (Shares::new(limits), Places::new(limits));
        let (limits, http, forwarding) = (limits.clone(), http(limits), Arc::default());
        Self { services, tls, limits, shares, places, forwarding, phase, http }
    }

    /// Returns the same port behind trusted proxies.
    pub(super) fn behind(self, proxies: &[Network], forwarding: Arc<Forwarding>) -> Self {
        Self { places: self.places.behind(proxies, Arc::clone(&forwarding)), forwarding, ..self }
    }

    async fn serve(self, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
        let (mut stopped, draining) = (self.phase.clone(), reached(self.phase.clone(), Phase::Draining));
        let port = Arc::new(self);
        let serving = async {
            let mut draining = pin!(draining);
            // Closed when the last connection has ended.
            let (alive, mut ended) = mpsc::channel::<Infallible>(1);
            loop {
                tokio::select! {
                    () = &mut draining => break,
                    arrival = arrivals.recv() => match arrival {
                        Some(arrival) => {
                            tokio::spawn(connection::serve(Arc::clone(&port), arrival, alive.clone()));
                        }
                        None => break,
                    },
                }
            }
            drop((alive, arrivals));
            ended.recv().await;
        };
        tokio::select! {
            () = serving => {}
            _ = stopped.wait_for(|phase| *phase == Phase::Stopped) => {}
        }
    }
}

/// Builds the HTTP/1.1 and HTTP/2 server with its limits. The rest has sufficient defaults: 100 header fields
/// in HTTP/1.1, streams that the peer resets.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        // The connection enforces both limits; this setting makes hyper notice the end of a request.
        .header_read_timeout(limits.http1_idle_timeout + limits.request_timeout)
        .max_buf_size(header_bytes.max(HTTP_1_BUFFER_BYTES_MIN));
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(limits.header_bytes)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    http
}

/// Waits until the server reaches the phase.
pub(super) async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The sender is dropped only with the server.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
