//! Used client assertions in PostgreSQL.

use std::time::SystemTime;

use async_trait::async_trait;
use token_issuer::{
    store::{AssertionStore, StoreError},
    timestamp::to_millis,
};

use super::{PostgresStore, failed};
use crate::gate::ASSERTION_QUEUE_TIME_MAX;

#[async_trait]
impl AssertionStore for PostgresStore {
    async fn use_assertion(&self, hash: &[u8; 32], forget_time: SystemTime) -> Result<bool, StoreError> {
        let _permit = self.decisions.enter_within(ASSERTION_QUEUE_TIME_MAX).await?;
        // Not logged as a change, because no cache holds it.
        let used = sqlx::query("INSERT INTO used_assertion (hash, forget_time) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(hash.as_slice())
            .bind(to_millis(forget_time))
            .execute(self.decisions.pool())
            .await
            .map_err(failed)?;
        Ok(used.rows_affected() == 1)
    }

    async fn purge_assertions(&self, now: SystemTime) -> Result<u64, StoreError> {
        let _permit = self.decisions.enter().await?;
        let purged = sqlx::query("DELETE FROM used_assertion WHERE forget_time <= $1")
            .bind(to_millis(now))
            .execute(self.decisions.pool())
            .await
            .map_err(failed)?;
        Ok(purged.rows_affected())
    }
}
