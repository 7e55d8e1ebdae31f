//! Connections with a queue in front of them.
//!
//! A pool alone says the same of two things: all of its connections are in use, or the database is gone. They need
//! different answers. What is busy is asked again; while a database is gone, memory may decide. A gate lets in as many as
//! the pool has connections, so whoever is in and gets none finds the database gone.
//!
//! Each purpose has a gate and a pool of its own, so that none delays another: the change feed, security decisions and
//! operators, lookups that strangers cause.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{Database, Pool, Transaction};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::StoreError;

/// How long a used assertion waits to be let in: less than its caller waits for the store, so that a queue is never taken
/// for a database that is gone.
pub(super) const ASSERTION_QUEUE_TIME_MAX: Duration = Duration::from_millis(500);

/// A pool for one purpose. Clones share it.
#[derive(Debug)]
pub(super) struct Gate<DB: Database> {
    pool: Pool<DB>,
    permits: Arc<Semaphore>,
    queue_time_max: Duration,
}

impl<DB: Database> Gate<DB> {
    /// As wide as the pool.
    pub(super) fn new(pool: Pool<DB>, queue_time_max: Duration) -> Self {
        let connections = pool.options().get_max_connections();
        let permits = Arc::new(Semaphore::new(connections.try_into().unwrap_or(1)));
        Self { pool, permits, queue_time_max }
    }

    /// Waits to be let in. Whoever has the permit may take one connection.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] when the queue does not move in time.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.enter_within(self.queue_time_max).await
    }

    /// The same, for a caller with less time.
    ///
    /// # Errors
    ///
    /// As [`Gate::enter`].
    pub(super) async fn enter_within(&self, queue_time_max: Duration) -> Result<OwnedSemaphorePermit, StoreError> {
        let entered = timeout(queue_time_max, Arc::clone(&self.permits).acquire_owned()).await;
        entered.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Busy)
    }

    /// The connections, for whoever was let in.
    pub(super) fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// Waits to be let in, and begins a transaction. The inner error is the database's.
    ///
    /// # Errors
    ///
    /// As [`Gate::enter`].
    pub(super) async fn begin(
        &self,
        statement: &'static str,
    ) -> Result<Result<OpenChange<DB>, sqlx::Error>, StoreError> {
        let permit = self.enter().await?;
        let transaction = self.pool.begin_with(statement).await;
        Ok(transaction.map(|transaction| OpenChange { transaction, _permit: permit }))
    }
}

impl<DB: Database> Clone for Gate<DB> {
    fn clone(&self) -> Self {
        let (pool, permits) = (self.pool.clone(), Arc::clone(&self.permits));
        Self { pool, permits, queue_time_max: self.queue_time_max }
    }
}

/// A transaction, and the permit that it was begun with. Dropped, it is rolled back.
#[derive(Debug)]
pub(super) struct OpenChange<DB: Database> {
    transaction: Transaction<'static, DB>,
    _permit: OwnedSemaphorePermit,
}

impl<DB: Database> OpenChange<DB> {
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }
}

impl<DB: Database> Deref for OpenChange<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        &self.transaction
    }
}

impl<DB: Database> DerefMut for OpenChange<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.transaction
    }
}
