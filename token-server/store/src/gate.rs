//! A connection pool with a queue in front of it.
//!
//! A pool alone cannot tell two cases apart: all its connections are in use, or the database is unreachable.
//! They need different answers: a busy store is asked again, while an unreachable one lets cached data
//! decide. A gate admits as many callers as the pool has connections. So an admitted caller that gets no
//! connection knows that the database is unreachable.
//!
//! Each purpose has its own gate and pool, so that none delays another. The purposes are the change feed,
//! security decisions with the admin API, and lookups that strangers cause.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use sqlx::{Database, Pool, Transaction, pool::PoolConnection};
use token_issuer::store::StoreError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

/// The maximum queue time of a client assertion check. It is shorter than the caller's store timeout, so that
/// a queue is not mistaken for an unreachable database.
pub(super) const ASSERTION_QUEUE_TIME_MAX: Duration = Duration::from_millis(500);

/// A pool for one purpose. Clones share the pool and the queue.
#[derive(Debug)]
pub(super) struct Gate<DB: Database> {
    pool: Pool<DB>,
    permits: Arc<Semaphore>,
    queue_time_max: Duration,
}

impl<DB: Database> Gate<DB> {
    /// Creates a gate with as many permits as the pool has connections.
    pub(super) fn new(pool: Pool<DB>, queue_time_max: Duration) -> Self {
        let connections = pool.options().get_max_connections();
        let permits = Arc::new(Semaphore::new(connections.try_into().unwrap_or(1)));
        Self { pool, permits, queue_time_max }
    }

    /// Waits for a permit. Its holder may take one connection.
    ///
    /// # Errors
    ///
    /// [`StoreError::Busy`] when no permit becomes free in time.
    pub(super) async fn enter(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.enter_within(self.queue_time_max).await
    }

    /// Waits for a permit, for at most `queue_time_max`.
    ///
    /// # Errors
    ///
    /// As [`Gate::enter`].
    pub(super) async fn enter_within(&self, queue_time_max: Duration) -> Result<OwnedSemaphorePermit, StoreError> {
        let entered = timeout(queue_time_max, Arc::clone(&self.permits).acquire_owned()).await;
        entered.map_err(|_| StoreError::Busy)?.map_err(|_| StoreError::Busy)
    }

    /// The pool, for holders of a permit.
    pub(super) fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// Waits for a permit and takes a connection. The inner error is the database's.
    ///
    /// # Errors
    ///
    /// As [`Gate::enter`].
    pub(super) async fn connection(
        &self,
        queue_time_max: Option<Duration>,
    ) -> Result<Result<Held<DB>, sqlx::Error>, StoreError> {
        let permit = self.enter_within(queue_time_max.unwrap_or(self.queue_time_max)).await?;
        let connection = self.pool.acquire().await;
        Ok(connection.map(|connection| Held { connection: Open::Connection(connection), _permit: permit }))
    }

    /// Waits for a permit and begins a transaction. The inner error is the database's.
    ///
    /// # Errors
    ///
    /// As [`Gate::enter`].
    pub(super) async fn begin(&self, statement: &'static str) -> Result<Result<Held<DB>, sqlx::Error>, StoreError> {
        let permit = self.enter().await?;
        let transaction = self.pool.begin_with(statement).await;
        Ok(transaction.map(|transaction| Held { connection: Open::Transaction(transaction), _permit: permit }))
    }
}

impl<DB: Database> Clone for Gate<DB> {
    fn clone(&self) -> Self {
        let (pool, permits) = (self.pool.clone(), Arc::clone(&self.permits));
        Self { pool, permits, queue_time_max: self.queue_time_max }
    }
}

/// A connection with its permit. A transaction that is dropped is rolled back.
pub(super) struct Held<DB: Database> {
    connection: Open<DB>,
    _permit: OwnedSemaphorePermit,
}

enum Open<DB: Database> {
    Connection(PoolConnection<DB>),
    Transaction(Transaction<'static, DB>),
}

impl<DB: Database> Held<DB> {
    /// Ends the transaction, if there is one.
    pub(super) async fn commit(self) -> Result<(), sqlx::Error> {
        match self.connection {
            Open::Connection(_) => Ok(()),
            Open::Transaction(transaction) => transaction.commit().await,
        }
    }
}

impl<DB: Database> Deref for Held<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &Self::Target {
        match &self.connection {
            Open::Connection(connection) => connection,
            Open::Transaction(transaction) => transaction,
        }
    }
}

impl<DB: Database> DerefMut for Held<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        match &mut self.connection {
            Open::Connection(connection) => connection,
            Open::Transaction(transaction) => transaction,
        }
    }
}
