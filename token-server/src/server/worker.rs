//! Workers: one per core, each with its own thread and runtime. The work of a connection stays on its core.

use std::{convert::Infallible, io, pin::pin, sync::Arc};

use tokio::{
    runtime,
    sync::{mpsc, oneshot},
};

use super::{
    connection,
    port::Port,
    transport::{
        accept::{Arrival, WorkerQueue},
        overload,
        phase::{Phase, reached},
    },
};

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) queue: WorkerQueue,
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
        runtime.enable_all().on_thread_park(overload::on_park).on_thread_unpark(overload::on_unpark);
        let runtime = runtime.build()?;
        let (queue, arrivals) = WorkerQueue::new();
        let (ended, done) = oneshot::channel();
        std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(serve(port, arrivals));
            // Closes the remaining connections.
            drop(runtime);
            // The receiver is gone if the server was dropped without a shutdown.
            let _ = ended.send(());
        })?;
        Ok(Self { queue, done })
    }
}

/// Serves connections until the server stops.
async fn serve(port: Port, mut arrivals: mpsc::UnboundedReceiver<Arrival>) {
    let (mut stopped, draining) = (port.phase.clone(), reached(port.phase.clone(), Phase::Draining));
    let port = Arc::new(port);
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
