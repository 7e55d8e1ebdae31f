//! Revocations in SQLite.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sqlx::SqliteConnection;
use token_issuer::{
    client::ClientId,
    store::{AdminRecord, ChangeKind, LIFETIME_MARGIN, Revocation, RevocationStore, RevocationTarget, StoreError},
    timestamp::to_millis,
};

use super::{SqliteStore, failed, log_change};
use crate::row;

#[async_trait]
impl RevocationStore for SqliteStore {
    async fn revoke(&self, revocation: &Revocation, audit: Option<&AdminRecord>) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        put(&mut transaction, revocation).await?;
        self.commit(transaction, audit).await
    }

    async fn revocations(&self, now: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        let _permit = self.readers.enter().await?;
        let rows = sqlx::query_as(
            "SELECT kind, target, revoked_before, forget_time, issued_to FROM revocation
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
            "SELECT kind, target, revoked_before, forget_time, issued_to FROM revocation
             WHERE kind = ?1 AND target = ?2",
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
        // Not logged as a change: every process drops expired revocations by itself.
        let purged = sqlx::query("DELETE FROM revocation WHERE forget_time <= ?1")
            .bind(to_millis(now))
            .execute(self.writer.pool())
            .await
            .map_err(failed)?;
        Ok(purged.rows_affected())
    }

    async fn longest_lifetime(&self, configured: Duration, now: SystemTime) -> Result<Duration, StoreError> {
        let mut transaction = self.begin().await?;
        sqlx::query(
            "INSERT INTO token_lifetime (lifetime, last_time) VALUES (?1, ?2)
             ON CONFLICT (lifetime) DO UPDATE SET last_time = max(last_time, excluded.last_time)",
        )
        .bind(row::millis(configured))
        .bind(to_millis(now))
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        let longest = sqlx::query_scalar("SELECT max(lifetime) FROM token_lifetime WHERE last_time + lifetime > ?1")
            .bind(to_millis(now).saturating_sub(row::millis(LIFETIME_MARGIN)))
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        row::lifetime(longest, configured)
    }
}

/// Adds a revocation within a transaction; if the target is already revoked, the later times count.
pub(super) async fn put(connection: &mut SqliteConnection, revocation: &Revocation) -> Result<(), StoreError> {
    log_change(&mut *connection, &ChangeKind::Revocation(revocation.target.clone())).await?;
    let (kind, target) = row::target_columns(&revocation.target);
    sqlx::query(
        "INSERT INTO revocation (kind, target, revoked_before, forget_time, issued_to)
         VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (kind, target) DO UPDATE SET
             revoked_before = max(revoked_before, excluded.revoked_before),
             forget_time = max(forget_time, excluded.forget_time)",
    )
    .bind(kind)
    .bind(target)
    .bind(to_millis(revocation.revoked_before))
    .bind(to_millis(revocation.forget_time))
    .bind(revocation.issued_to.as_ref().map(ClientId::as_str))
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
