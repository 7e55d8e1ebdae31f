//! Workers: a thread and a runtime of its own each, one per core. What a connection brings stays on its core.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};
use tonic::transport::Server;
use tower::Layer as _;

use super::{
    accept::{Arrival, Desk},
    connection, lateness,
    routes::Services,
    share::Shares,
    tls::ReloadingTls,
};
use crate::config::Limits;

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

/// What every worker serves.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) services: Services,
    pub(super) tls: Option<Arc<ReloadingTls>>,
    pub(super) limits: Limits,
    pub(super) shares: Shares,
    pub(super) phase: watch::Receiver<Phase>,
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
    pub(super) fn new(
        services: Services,
        tls: Option<Arc<ReloadingTls>>,
        limits: &Limits,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { services, tls, limits: limits.clone(), shares: Shares::new(limits), phase }
    }

    async fn serve(self, arrivals: mpsc::UnboundedReceiver<Arrival>) {
        let mut stopped = self.phase.clone();
        let serving = async {
            let (server, services) = (self.server(), self.shares.layer(self.services));
            let (drain, timeout) = (reached(self.phase, Phase::Draining), self.limits.handshake_timeout);
            match self.tls {
                Some(tls) => {
                    let incoming = connection::tls(arrivals, tls, timeout);
                    server.serve_with_incoming_shutdown(services, incoming, drain).await
                }
                None => {
                    let incoming = connection::plaintext(arrivals, timeout);
                    server.serve_with_incoming_shutdown(services, incoming, drain).await
                }
            }
        };
        let served = tokio::select! {
            served = serving => served,
            _ = stopped.wait_for(|phase| *phase == Phase::Stopped) => Ok(()),
        };
        if let Err(error) = served {
            tracing::error!(error = &error as &dyn std::error::Error, "a worker ended");
        }
    }

    fn server(&self) -> Server {
        Server::builder()
            .accept_http1(true)
            .max_concurrent_streams(self.limits.streams_per_connection)
            .http2_max_header_list_size(self.limits.header_bytes)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .max_connection_age(self.limits.connection_age)
    }
}

/// Waits until the server is that far.
pub(super) async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The sender is gone only when the server is.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
