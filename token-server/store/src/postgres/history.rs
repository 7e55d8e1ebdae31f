//! The change log and the admin audit in PostgreSQL.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use sqlx::PgConnection;
use token_issuer::{
    store::{AdminAuditStore, AdminRecord, AdminRecordFilter, ChangeLog, LogPage, StoreError},
    timestamp::to_millis,
};

use super::{PostgresStore, failed, revocations};
use crate::row;

#[async_trait]
impl ChangeLog for PostgresStore {
    async fn last_change(&self) -> Result<u64, StoreError> {
        let _permit = self.feed.enter().await?;
        let last = sqlx::query_scalar("SELECT coalesce(max(sequence), 0) FROM change_log").fetch_one(self.feed.pool());
        row::unsigned(last.await.map_err(failed)?)
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        let _permit = self.feed.enter().await?;
        // One statement, so that epoch and changes are consistent.
        let rows = sqlx::query_as(
            "SELECT epoch, sequence, time, mark, kind, subject FROM store_epoch LEFT JOIN (
                 SELECT * FROM change_log WHERE sequence >= $1 ORDER BY sequence LIMIT $2
             ) AS change ON true ORDER BY sequence",
        )
        .bind(row::signed(sequence))
        .bind(i64::from(limit))
        .fetch_all(self.feed.pool())
        .await
        .map_err(failed)?;
        row::log_page(rows)
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        let _permit = self.decisions.enter().await?;
        let purged = sqlx::query(
            "DELETE FROM change_log WHERE time <= (extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1
                 AND sequence < (SELECT max(sequence) FROM change_log)",
        )
        .bind(row::millis(age))
        .execute(self.decisions.pool())
        .await
        .map_err(failed)?;
        Ok(purged.rows_affected())
    }

    async fn changed(&self) {
        self.committed.notified().await;
    }

    fn connections_lost(&self) -> u64 {
        self.connections_lost.load(Ordering::Acquire)
    }
}

#[async_trait]
impl AdminAuditStore for PostgresStore {
    async fn admin_records(
        &self,
        filter: &AdminRecordFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError> {
        let _permit = self.decisions.enter().await?;
        let rows = sqlx::query_as(
            "SELECT number, document::text AS document FROM admin_audit
             WHERE number < $1 AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR action = $3)
                 AND ($4 IS NULL OR resource = $4) AND time >= $5 AND time < $6
             ORDER BY number DESC LIMIT $7",
        )
        .bind(before.map_or(i64::MAX, row::signed))
        .bind(&filter.actor)
        .bind(&filter.action)
        .bind(&filter.resource)
        .bind(filter.from.map_or(0, to_millis))
        .bind(filter.until.map_or(i64::MAX, to_millis))
        .bind(i64::from(limit))
        .fetch_all(self.decisions.pool())
        .await
        .map_err(failed)?;
        rows.into_iter().map(row::admin_record).collect()
    }
}

/// Writes a row into the admin audit, and the revocation that is part of the change.
pub(super) async fn record(connection: &mut PgConnection, record: &AdminRecord) -> Result<(), StoreError> {
    if let Some(revocation) = &record.revokes {
        revocations::put(connection, revocation).await?;
    }
    sqlx::query("INSERT INTO admin_audit (time, actor, action, resource, document) VALUES ($1, $2, $3, $4, $5::jsonb)")
        .bind(to_millis(record.time))
        .bind(&record.actor)
        .bind(&record.action)
        .bind(&record.resource)
        .bind(row::admin_document(record)?)
        .execute(connection)
        .await
        .map_err(failed)?;
    Ok(())
}
