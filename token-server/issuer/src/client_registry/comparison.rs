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

use token_interceptor::error_chain;
use tokio::time::sleep;

use super::Shared;
use crate::{
    client::{Client, ClientId},
    feed::unreported::wait_until,
    store::{StoreError, answered},
};

/// Clients read in one query.
const PAGE: usize = 500;
/// The pause between two attempts while the store cannot be read.
const RETRY: Duration = Duration::from_secs(1);

/// Compares after each resync, until the registry is dropped.
pub(super) async fn compare(shared: &Weak<Shared>) {
    let Some(mut demanded) = shared.upgrade().map(|shared| shared.doubts.subscribe()) else { return };
    loop {
        let Some(count_at) = shared.upgrade().map(|shared| shared.unreported().count_at()) else { return };
        let demanded = tokio::select! {
            changed = demanded.changed() => changed.map(|()| true),
            () = wait_until(count_at) => Ok(false),
        };
        let (Ok(demanded), Some(shared)) = (demanded, shared.upgrade()) else { return };
        if !demanded {
            shared.unreported().count();
            continue;
        }
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
        let stored = match answered(self.store.clients_by_id(ids)).await {
            // One client that cannot be read must not hide the others.
            Err(StoreError::Corrupt(_)) => self.one_by_one(ids).await?,
            stored => stored?,
        };
        let stored: HashMap<&ClientId, &Client> = stored.iter().map(|client| (&client.id, client)).collect();
        for id in ids {
            let Some(held) = self.known.peek(id) else { continue };
            if stored.get(id).is_none_or(|stored| **stored != *held) {
                self.forget(id);
                self.unreported().found([id.clone()]);
            }
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
