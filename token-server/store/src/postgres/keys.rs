//! Sealed signing keys in PostgreSQL.

use std::time::SystemTime;

use async_trait::async_trait;
use sqlx::PgConnection;
use token_issuer::{
    store::{AdminRecord, ChangeKind, KeyStore, KeyTable, StoreError, StoredKey},
    timestamp::{from_millis, to_millis},
};

use super::{PostgresStore, failed, log_change};
use crate::row;

#[async_trait]
impl KeyStore for PostgresStore {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        // One transaction, so that version and keys are consistent.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        let mut transaction = self.decisions.begin(begin).await?.map_err(failed)?;
        let version = version(&mut transaction).await?;
        let rows = sqlx::query_as(
            "SELECT key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed
             FROM signing_key ORDER BY key_id",
        )
        .fetch_all(&mut *transaction)
        .await
        .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(KeyTable { version, keys: rows.into_iter().map(row::key).collect::<Result<_, _>>()? })
    }

    async fn replace_keys(&self, table: &KeyTable, audit: Option<&AdminRecord>) -> Result<u64, StoreError> {
        let mut transaction = self.begin().await?;
        if version(&mut transaction).await? != table.version {
            return Err(StoreError::RevisionMismatch);
        }
        let version = log_change(&mut transaction, &ChangeKind::Keys).await?;
        sqlx::query("UPDATE signing_key_version SET version = $1")
            .bind(version)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::query("DELETE FROM signing_key").execute(&mut *transaction).await.map_err(failed)?;
        for key in &table.keys {
            write(&mut transaction, key).await?;
        }
        self.commit(transaction, audit).await?;
        row::unsigned(version)
    }

    async fn time(&self) -> Result<Option<SystemTime>, StoreError> {
        let _permit = self.decisions.enter().await?;
        let millis = sqlx::query_scalar("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
            .fetch_one(self.decisions.pool())
            .await
            .map_err(failed)?;
        Ok(Some(from_millis(millis)))
    }
}

async fn version(connection: &mut PgConnection) -> Result<u64, StoreError> {
    let version = sqlx::query_scalar("SELECT version FROM signing_key_version").fetch_one(connection).await;
    row::unsigned(version.map_err(failed)?)
}

async fn write(connection: &mut PgConnection, key: &StoredKey) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO signing_key
             (key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&key.key_id)
    .bind(key.algorithm.name())
    .bind(to_millis(key.create_time))
    .bind(to_millis(key.sign_after))
    .bind(key.distrust_time.map(to_millis))
    .bind(key.imported)
    .bind(&key.sealed.sealing_key_id)
    .bind(&key.sealed.bytes)
    .execute(connection)
    .await
    .map_err(failed)?;
    Ok(())
}
