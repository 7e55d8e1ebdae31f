//! Callers that get one token after another, and how each call went.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
};
use tonic::Status;

use crate::cluster::{Identity, Replica, issue};

/// Callers at each replica.
const CALLERS: usize = 4;

/// Load on some replicas.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    callers: JoinSet<()>,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// How one call went.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) replica: usize,
    pub(crate) took: Duration,
    pub(crate) outcome: Result<(), Status>,
}

impl Load {
    /// Puts callers on each of the replicas, by their numbers.
    pub(crate) fn start(replicas: &[(usize, &Replica)], client: &Identity) -> Self {
        let (stop, calls) = (watch::Sender::new(false), Arc::<Mutex<Vec<Call>>>::default());
        let mut callers = JoinSet::new();
        for (replica, process) in replicas {
            for _ in 0..CALLERS {
                let (mut tokens, client, replica) = (process.tokens(), client.clone(), *replica);
                let (stopped, calls) = (stop.subscribe(), Arc::clone(&calls));
                callers.spawn(async move {
                    while !*stopped.borrow() {
                        let begun = Instant::now();
                        let outcome = issue(&mut tokens, &client, "inventory").await.map(drop);
                        let failed = outcome.is_err();
                        calls.lock().await.push(Call { replica, took: begun.elapsed(), outcome });
                        // A caller that is refused does not come back in a tight loop.
                        tokio::time::sleep(Duration::from_millis(if failed { 50 } else { 2 })).await;
                    }
                });
            }
        }
        Self { stop, callers, calls }
    }

    /// Ends the load; returns how every call went.
    pub(crate) async fn stop(mut self) -> Vec<Call> {
        self.stop.send_replace(true);
        while self.callers.join_next().await.is_some() {}
        std::mem::take(&mut *self.calls.lock().await)
    }
}
