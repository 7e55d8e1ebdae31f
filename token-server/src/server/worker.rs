//! Workers: a thread and a runtime of its own each, one per core. What a connection brings stays on its core.

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
    origin::{Forwarding, Network},
};

/// The smallest buffer for a head that hyper takes.
const HTTP_1_BUFFER_BYTES_MIN: usize = 8 * 1024;
/// A peer that has been silent so long is asked for a sign of life ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// ... and must give it within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How far the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Takes connections.
    Serving,
    /// Takes none, and finishes the requests under way.
    Draining,
    /// Does not wait for anything any more.
    Stopped,
}

/// What every worker of a port serves.
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

/// A worker at work.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) desk: Desk,
    /// Resolves once the worker's thread is about to end.
    pub(super) done: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts a thread.
    ///
    /// # Errors
    ///
    /// When the system has no more threads or file descriptors.
    pub(super) fn start(number: usize, port: Port) -> io::Result<Self> {
        let mut runtime = runtime::Builder::new_current_thread();
        runtime.enable_all().on_thread_park(lateness::look).on_thread_unpark(lateness::found);
        let runtime = runtime.build()?;
        let (desk, arrivals) = Desk::new();
        let (ended, done) = oneshot::channel();
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(port.serve(arrivals));
            // Closes the connections that have not ended by themselves.
            drop(runtime);
            // Nobody waits where the server was dropped without a shutdown.
            let _ = ended.send(());
        })?;
        Ok(Self { desk, done })
    }
}

impl Port {
    /// A port that believes nobody about where a connection comes from.
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

    /// The same behind proxies that are believed.
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

/// HTTP/1.1 and HTTP/2, each within the limits. What is not set here has a bound by default that is not worth a setting:
/// 100 header fields in HTTP/1.1, streams that the peer resets.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let header_bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        // The connection has a limit for each of the two; with this one hyper lets it notice that a request has ended.
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

/// Waits until the server is that far.
pub(super) async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The sender is gone only when the server is.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
