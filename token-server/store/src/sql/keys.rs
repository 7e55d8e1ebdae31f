//! Sealed signing keys.

use std::time::SystemTime;

use async_trait::async_trait;
use token_issuer::{
    store::{AdminRecord, ChangeKind, KeyStore, KeyTable, StoreError, StoredKey},
    timestamp::{from_millis, to_millis},
};

use super::{Database, Purpose, Row, Session, SqlStore, Value, log_change, one};
use crate::row;

#[async_trait]
impl<D: Database> KeyStore for SqlStore<D> {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        // One state of the database, so that version and keys are consistent.
        let mut snapshot = self.database.snapshot().await?;
        let version = version(&mut *snapshot).await?;
        let select =
            "SELECT key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed
                      FROM signing_key ORDER BY key_id";
        let rows = snapshot.rows(select, &[]).await?;
        snapshot.commit().await?;
        Ok(KeyTable { version, keys: rows.iter().map(key).collect::<Result<_, _>>()? })
    }

    async fn replace_keys(&self, table: &KeyTable, audit: Option<&AdminRecord>) -> Result<u64, StoreError> {
        let mut change = self.database.change().await?;
        if version(&mut *change).await? != table.version {
            return Err(StoreError::RevisionMismatch);
        }
        let version = log_change(&mut *change, self.database.dialect(), &ChangeKind::Keys).await?;
        change.execute("UPDATE signing_key_version SET version = $1", &[version.into()]).await?;
        change.execute("DELETE FROM signing_key", &[]).await?;
        for key in &table.keys {
            write(&mut *change, key).await?;
        }
        self.database.commit(change, audit).await?;
        row::unsigned(version)
    }

    async fn time(&self) -> Result<Option<SystemTime>, StoreError> {
        let Some(now) = self.database.dialect().now else { return Ok(None) };
        let mut session = self.database.session(Purpose::Read).await?;
        Ok(Some(from_millis(one(&mut *session, now, &[]).await?.get(0)?)))
    }
}

async fn version(session: &mut dyn Session) -> Result<u64, StoreError> {
    row::unsigned(one(session, "SELECT version FROM signing_key_version", &[]).await?.get(0)?)
}

async fn write(session: &mut dyn Session, key: &StoredKey) -> Result<(), StoreError> {
    let insert = "INSERT INTO signing_key
                      (key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed)
                  VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let values = [
        key.key_id.as_str().into(),
        key.algorithm.name().into(),
        to_millis(key.create_time).into(),
        to_millis(key.sign_after).into(),
        key.distrust_time.map(to_millis).into(),
        Value::Flag(key.imported),
        key.sealed.sealing_key_id.as_str().into(),
        Value::Bytes(&key.sealed.bytes),
    ];
    session.execute(insert, &values).await?;
    Ok(())
}

fn key(row: &Row) -> Result<StoredKey, StoreError> {
    let (sealing_key_id, sealed) = (row.get(6)?, row.get(7)?);
    row::key((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?, sealing_key_id, sealed))
}
