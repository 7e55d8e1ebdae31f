//! Callers that get one token after another, and the result of each call.

use std::{
    collections::HashMap,
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
/// The longest wait for a replica to serve calls, before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Load on a set of replicas.
pub(crate) struct Load<E = Status> {
    replicas: Vec<usize>,
    stop: watch::Sender<bool>,
    callers: JoinSet<()>,
    calls: Arc<Mutex<Vec<Call<E>>>>,
}

/// The result of one call.
#[derive(Debug)]
pub(crate) struct Call<E = Status> {
    pub(crate) replica: usize,
    #[allow(dead_code, reason = "not every test program asks when")]
    pub(crate) begun: Instant,
    pub(crate) took: Duration,
    pub(crate) outcome: Result<(), E>,
}

impl Load {
    /// Starts callers at each of the replicas, by their numbers.
    #[allow(dead_code, reason = "not every test program calls so")]
    pub(crate) fn start(replicas: &[(usize, &Replica)], client: &Identity) -> Self {
        let channels: HashMap<_, _> = replicas.iter().map(|(number, process)| (*number, process.tokens())).collect();
        let client = client.clone();
        Self::calling(CALLERS, replicas.iter().map(|(number, _)| *number), move |replica| {
            let (mut tokens, client) = (channels[&replica].clone(), client.clone());
            async move { issue(&mut tokens, &client, "inventory").await.map(drop) }
        })
    }
}

impl<E: Send + 'static> Load<E> {
    /// Starts `callers` callers at each of the replicas. Each repeats `call`.
    pub(crate) fn calling<C, F>(callers: usize, replicas: impl IntoIterator<Item = usize>, call: C) -> Self
    where
        C: Fn(usize) -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), E>> + Send,
    {
        let (stop, calls) = (watch::Sender::new(false), Arc::new(Mutex::new(Vec::new())));
        let (each, mut callers) = (callers, JoinSet::new());
        let replicas: Vec<usize> = replicas.into_iter().collect();
        for replica in replicas.iter().copied() {
            for _ in 0..each {
                let (call, stopped, calls) = (call.clone(), stop.subscribe(), Arc::clone(&calls));
                callers.spawn(async move {
                    while !*stopped.borrow() {
                        let begun = Instant::now();
                        let outcome = call(replica).await;
                        let failed = outcome.is_err();
                        calls.lock().await.push(Call { replica, begun, took: begun.elapsed(), outcome });
                        // A caller waits after a failure, so that it does not retry in a tight loop.
                        tokio::time::sleep(Duration::from_millis(if failed { 50 } else { 2 })).await;
                    }
                });
            }
        }
        Self { replicas, stop, callers, calls }
    }

    /// Waits until each replica has served `more` further calls.
    #[allow(dead_code, reason = "not every test program waits so")]
    pub(crate) async fn served(&self, more: usize) {
        let (begun, before) = (Instant::now(), self.calls.lock().await.len());
        for replica in &self.replicas {
            while self.served_since(before, *replica).await < more {
                assert!(begun.elapsed() < PATIENCE, "not {more} calls of replica {replica} in {PATIENCE:?}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn served_since(&self, before: usize, replica: usize) -> usize {
        let calls = self.calls.lock().await;
        calls[before..].iter().filter(|call| call.replica == replica && call.outcome.is_ok()).count()
    }

    /// Ends the load. Returns the results of all calls.
    pub(crate) async fn stop(mut self) -> Vec<Call<E>> {
        self.stop.send_replace(true);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.calls.lock().await)
    }
}

/// Median, 99th percentile and maximum of the calls' durations.
pub(crate) fn times<E>(calls: &[&Call<E>]) -> [Duration; 3] {
    let mut times: Vec<_> = calls.iter().map(|call| call.took).collect();
    times.sort_unstable();
    [50, 99, 100].map(|part| times.get((times.len().saturating_sub(1)) * part / 100).copied().unwrap_or_default())
}
