//! The phases of a server, from its start to its end.

use tokio::sync::watch;

/// The phase of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Accepts connections.
    Serving,
    /// Accepts no connections, and finishes the requests in flight.
    Draining,
    /// Waits for nothing any more.
    Stopped,
}

/// Waits until the server reaches the phase.
pub(crate) async fn reached(mut phase: watch::Receiver<Phase>, wanted: Phase) {
    // The sender is dropped only with the server.
    let _ = phase.wait_for(|phase| *phase >= wanted).await;
}
