//! The change log and the admin audit.

use std::time::Duration;

use async_trait::async_trait;
use token_issuer::{
    store::{AdminAuditStore, AdminRecord, AdminRecordFilter, ChangeLog, LogPage, StoreError},
    timestamp::to_millis,
};

use super::{Database, Dialect, Purpose, Row, Session, SqlStore, Value, one, revocations};
use crate::row;

#[async_trait]
impl<D: Database> ChangeLog for SqlStore<D> {
    async fn last_change(&self) -> Result<u64, StoreError> {
        let mut session = self.database.session(Purpose::Feed).await?;
        let select = "SELECT coalesce(max(sequence), 0) FROM change_log";
        row::unsigned(one(&mut *session, select, &[]).await?.get(0)?)
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        let mut session = self.database.session(Purpose::Feed).await?;
        // One statement: epoch and changes of the same moment.
        let select = "SELECT epoch, sequence, time, mark, kind, subject FROM store_epoch LEFT JOIN (
                          SELECT * FROM change_log WHERE sequence >= $1 ORDER BY sequence LIMIT $2
                      ) AS change ON true ORDER BY sequence";
        let rows = session.rows(select, &[row::signed(sequence).into(), i64::from(limit).into()]).await?;
        row::log_page(rows.iter().map(log_row).collect::<Result<_, _>>()?)
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        let mut session = self.database.session(Purpose::Write).await?;
        session.execute(self.database.dialect().purge_changes, &[row::millis(age).into()]).await
    }

    async fn changed(&self) {
        self.database.committed().notified().await;
    }

    fn connections_lost(&self) -> u64 {
        self.database.connections_lost()
    }
}

#[async_trait]
impl<D: Database> AdminAuditStore for SqlStore<D> {
    async fn admin_records(
        &self,
        filter: &AdminRecordFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AdminRecord)>, StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        let select = "SELECT number, CAST(document AS text) FROM admin_audit
                      WHERE number < $1 AND ($2 IS NULL OR actor = $2) AND ($3 IS NULL OR action = $3)
                          AND ($4 IS NULL OR resource = $4) AND time >= $5 AND time < $6
                      ORDER BY number DESC LIMIT $7";
        let values = [
            before.map_or(i64::MAX, row::signed).into(),
            filter.actor.as_deref().into(),
            filter.action.as_deref().into(),
            filter.resource.as_deref().into(),
            filter.from.map_or(0, to_millis).into(),
            filter.until.map_or(i64::MAX, to_millis).into(),
            i64::from(limit).into(),
        ];
        let rows = session.rows(select, &values).await?;
        rows.iter().map(|row| row::admin_record((row.get(0)?, row.get(1)?))).collect()
    }
}

/// Writes a row into the admin audit, and the revocation that is part of the change.
pub(crate) async fn record(
    session: &mut dyn Session,
    dialect: &Dialect,
    record: &AdminRecord,
) -> Result<(), StoreError> {
    if let Some(revocation) = &record.revokes {
        revocations::put(session, dialect, revocation).await?;
    }
    let insert = "INSERT INTO admin_audit (time, actor, action, resource, document) VALUES ($1, $2, $3, $4, $5)";
    let document = row::admin_document(record)?;
    let values = [
        to_millis(record.time).into(),
        record.actor.as_str().into(),
        record.action.as_str().into(),
        record.resource.as_str().into(),
        Value::Json(&document),
    ];
    session.execute(insert, &values).await?;
    Ok(())
}

fn log_row(row: &Row) -> Result<row::LogRow, StoreError> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?))
}
