//! Revocations in SQLite.

use std::time::SystemTime;

use async_trait::async_trait;

use super::{SqliteStore, failed, log_change};
use crate::{
    store::{AdminRecord, ChangeKind, Revocation, RevocationStore, RevocationTarget, StoreError, row},
    timestamp::to_millis,
};

#[async_trait]
impl RevocationStore for SqliteStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        log_change(&mut transaction, &ChangeKind::Revocation(revocation.target.clone())).await?;
        let (kind, target) = row::target_columns(&revocation.target);
        sqlx::query(
            "INSERT INTO revocation (kind, target, revoked_before, forget_time) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (kind, target) DO UPDATE SET
                 revoked_before = max(revoked_before, excluded.revoked_before),
                 forget_time = max(forget_time, excluded.forget_time)",
        )
        .bind(kind)
        .bind(target)
        .bind(to_millis(revocation.revoked_before))
        .bind(to_millis(revocation.forget_time))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        self.commit(transaction, audit).await
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        let _permit = self.readers.enter().await?;
        let rows = sqlx::query_as(
            "SELECT kind, target, revoked_before, forget_time FROM revocation
             WHERE forget_time > ?1 ORDER BY kind, target",
        )
        .bind(to_millis(now))
        .fetch_all(self.readers.pool())
        .await
        .map_err(failed)?;
        rows.into_iter().map(row::revocation).collect()
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        let (kind, target) = row::target_columns(target);
        let _permit = self.readers.enter().await?;
        let found = sqlx::query_as(
            "SELECT kind, target, revoked_before, forget_time FROM revocation WHERE kind = ?1 AND target = ?2",
        )
        .bind(kind)
        .bind(target)
        .fetch_optional(self.readers.pool())
        .await
        .map_err(failed)?;
        found.map(row::revocation).transpose()
    }

    async fn purge_revocations(&self, now: SystemTime) -> Result<u64, StoreError> {
        let _permit = self.writer.enter().await?;
        // Not a change: everybody forgets them at the same time by themselves.
        let purged = sqlx::query("DELETE FROM revocation WHERE forget_time <= ?1")
            .bind(to_millis(now))
            .execute(self.writer.pool())
            .await
            .map_err(failed)?;
        Ok(purged.rows_affected())
    }
}
