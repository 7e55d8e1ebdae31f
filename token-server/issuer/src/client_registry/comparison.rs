//! The comparison of cached clients with the store.
//!
//! The change feed keeps the cache current; the comparison is a second safeguard. It runs at each resync, and
//! the feed also sends one at an interval. It reads every cached client again, a page at a time, and drops
//! those that differ. No difference lasts longer than the interval.
//!
//! It compares the whole client, not its revision: a failover that loses transactions assigns revisions
//! twice.

use std::{
    collections::HashMap,
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use metrics::counter;
use token_interceptor::error_chain;
use tokio::time::sleep;

use super::Shared;
use crate::{
    client::{Client, ClientId},
    store::{StoreError, answered},
};

/// Clients read in one query.
const PAGE: usize = 500;
/// The pause between two attempts while the store cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// Compares after each resync, until the registry is dropped.
pub(super) async fn compare(shared: &Weak<Shared>) {
    let Some(mut demanded) = shared.upgrade().map(|shared| shared.doubts.subscribe()) else { return };
    while demanded.changed().await.is_ok() {
        let Some(shared) = shared.upgrade() else { return };
        while let Err(error) = shared.compare().await {
            tracing::warn!(error = %error_chain::of(&error), "could not compare cached clients with the store; will retry");
            sleep(RETRY).await;
        }
    }
}

impl Shared {
    /// Drops cached clients that differ from the store. Afterwards the cache is trusted again.
    pub(super) async fn compare(&self) -> Result<(), StoreError> {
        let stale = self.stale.load(Ordering::SeqCst);
        self.unknown.clear();
        let ids: Vec<ClientId> = self.known.iter().map(|(id, _)| id).collect();
        for page in ids.chunks(PAGE) {
            self.compare_page(page).await?;
        }
        // Unless the store was lost again in the meantime.
        if self.stale.load(Ordering::SeqCst) == stale {
            self.set_outage(None);
            self.current.store(true, Ordering::Release);
        }
        Ok(())
    }

    async fn compare_page(&self, ids: &[ClientId]) -> Result<(), StoreError> {
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let stored = match answered(self.store.clients_by_id(ids)).await {
            // One client that cannot be read must not hide the others.
            Err(StoreError::Corrupt(_)) => self.one_by_one(ids).await?,
            stored => stored?,
        };
        let stored: HashMap<&ClientId, &Client> = stored.iter().map(|client| (&client.id, client)).collect();
        let mut differences = 0_u64;
        for id in ids {
            let Some(held) = self.known.peek(id) else { continue };
            if stored.get(id).is_none_or(|stored| **stored != *held) {
                self.forget(id);
                differences += 1;
            }
        }
        // A change in the meantime does not count as a difference.
        if differences > 0 && self.forgotten.load(Ordering::SeqCst) == forgotten + differences {
            counter!("token_server_store_differences_total", "kind" => "client").increment(differences);
            tracing::warn!(differences, "cached clients differed from the store; dropped them from the cache");
        }
        Ok(())
    }

    async fn one_by_one(&self, ids: &[ClientId]) -> Result<Vec<Client>, StoreError> {
        let mut stored = Vec::new();
        for id in ids {
            match answered(self.store.lookup(id)).await {
                Ok(client) => stored.extend(client),
                // The client is not served from the cache either.
                Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(stored)
    }
}
