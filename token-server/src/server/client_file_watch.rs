//! Clients declared in a file, which is reloaded when it changes.
//!
//! An invalid file changes nothing. The last valid clients stay in effect, and log, metric and health report
//! the failure.

use std::{path::PathBuf, sync::Arc, time::Duration};

use metrics::{counter, gauge};
use token_interceptor::clock::Clock;
use token_interceptor::error_chain;
use token_issuer::{
    admin::AdminRules,
    client::{Client, secret::Peppers},
    store::RevocationStore as _,
};
use token_store::DeclaredStore;
use tokio::sync::{Mutex, Notify, watch};

use super::ServeError;
use crate::client_file;

const RELOADS: &str = "token_server_clients_file_reloads_total";

/// The file, and the clients last read from it.
#[derive(Debug)]
pub(super) struct ClientFile {
    file: PathBuf,
    interval: Duration,
    store: Arc<DeclaredStore>,
    peppers: Peppers,
    rules: AdminRules,
    keep_tokens: bool,
    clock: Arc<dyn Clock>,
    last: Mutex<Vec<Client>>,
    woken: Notify,
    usable: watch::Sender<bool>,
}

/// The file, and the rules for its clients.
pub(super) struct Source {
    pub(super) file: PathBuf,
    pub(super) interval: Duration,
    pub(super) peppers: Peppers,
    pub(super) rules: AdminRules,
    /// Tokens of clients that the file removes or disables stay valid until they expire.
    pub(super) keep_tokens: bool,
}

impl ClientFile {
    /// Reads the file into the store. Fails without a valid file: there would be nothing to serve.
    pub(super) async fn start(
        source: Source,
        store: Arc<DeclaredStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ServeError> {
        let Source { file, interval, peppers, rules, keep_tokens } = source;
        let (last, usable) = (Mutex::default(), watch::Sender::new(true));
        let woken = Notify::new();
        let declared =
            Arc::new(Self { file, interval, store, peppers, rules, keep_tokens, clock, last, woken, usable });
        declared.reload().await?;
        Ok(declared)
    }

    /// Returns a receiver that is true while the file is valid.
    pub(super) fn usable(&self) -> watch::Receiver<bool> {
        self.usable.subscribe()
    }

    /// Triggers a reload now.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Reloads the file at every interval, until dropped.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut told = String::new();
        loop {
            tokio::select! {
                () = tokio::time::sleep(self.interval) => {}
                () = self.woken.notified() => {}
            }
            let reloaded = self.reload().await;
            let usable = reloaded.is_ok();
            self.usable.send_if_modified(|before| std::mem::replace(before, usable) != usable);
            gauge!("token_server_clients_file_usable").set(f64::from(usable));
            match reloaded {
                Ok(changed) => {
                    told.clear();
                    if changed > 0 {
                        counter!(RELOADS, "outcome" => "changed").increment(1);
                        tracing::info!(file = %self.file.display(), changed, "clients reloaded");
                    }
                }
                Err(error) => {
                    counter!(RELOADS, "outcome" => "unusable").increment(1);
                    let error = error_chain::of(&error);
                    // Log each error once, not at each interval.
                    if told != error {
                        tracing::error!(error, "cannot use the client file; keeping the last valid clients");
                        told = error;
                    }
                }
            }
        }
    }

    /// Reloads the file and returns the number of changed clients.
    async fn reload(&self) -> Result<usize, ServeError> {
        let mut last = self.last.lock().await;
        let clients = client_file::load(&self.file, &self.peppers, &self.rules)?;
        if *last == clients {
            return Ok(0);
        }
        let now = self.clock.now();
        let lifetime_max = if self.keep_tokens {
            None
        } else {
            Some(self.store.longest_lifetime(self.rules.token_lifetime_max, now).await?)
        };
        let changed = self.store.declare(&clients, now, lifetime_max).await?;
        *last = clients;
        Ok(changed)
    }
}
