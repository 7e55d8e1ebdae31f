//! Clients in SQLite.

use async_trait::async_trait;
use sqlx::{SqliteConnection, SqlitePool};
use token_issuer::{
    client::{Client, ClientId},
    store::{AdminRecord, ChangeKind, ClientStore, CredentialUse, StoreError},
    timestamp::to_millis,
};

use super::{SqliteStore, failed, log_change};
use crate::row;

#[async_trait]
impl ClientStore for SqliteStore {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let _permit = self.readers.enter().await?;
        let found = sqlx::query_as("SELECT revision, document FROM client WHERE id = ?1")
            .bind(id.as_str())
            .fetch_optional(self.readers.pool())
            .await
            .map_err(failed)?;
        let Some(found) = found else { return Ok(None) };
        let mut client = row::client(found)?;
        let uses = uses(self.readers.pool(), id.as_str(), id.as_str()).await?;
        row::note_uses(&mut client, &uses);
        Ok(Some(client))
    }

    async fn lookup(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let _permit = self.lookups.enter().await?;
        let found = sqlx::query_as("SELECT revision, document FROM client WHERE id = ?1")
            .bind(id.as_str())
            .fetch_optional(self.lookups.pool())
            .await
            .map_err(failed)?;
        found.map(row::client).transpose()
    }

    async fn clients_by_id(&self, ids: &[ClientId]) -> Result<Vec<Client>, StoreError> {
        let _permit = self.readers.enter().await?;
        let ids: Vec<&str> = ids.iter().map(ClientId::as_str).collect();
        let ids = serde_json::to_string(&ids).map_err(StoreError::corrupt)?;
        let select = "SELECT revision, document FROM client WHERE id IN (SELECT value FROM json_each(?1))";
        let rows = sqlx::query_as(select).bind(ids).fetch_all(self.readers.pool()).await.map_err(failed)?;
        rows.into_iter().map(row::client).collect()
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        let _permit = self.readers.enter().await?;
        // No ID is empty: "" comes before all of them.
        let rows = sqlx::query_as("SELECT revision, document FROM client WHERE id > ?1 ORDER BY id LIMIT ?2")
            .bind(after.map_or("", ClientId::as_str))
            .bind(limit)
            .fetch_all(self.readers.pool())
            .await
            .map_err(failed)?;
        let mut clients = rows.into_iter().map(row::client).collect::<Result<Vec<_>, _>>()?;
        if let (Some(first), Some(last)) = (clients.first(), clients.last()) {
            let uses = uses(self.readers.pool(), first.id.as_str(), last.id.as_str()).await?;
            clients.iter_mut().for_each(|client| row::note_uses(client, &uses));
        }
        Ok(clients)
    }

    async fn expect_free(&self, id: &ClientId) -> Result<(), StoreError> {
        let _permit = self.readers.enter().await?;
        let mut connection = self.readers.pool().acquire().await.map_err(failed)?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM client WHERE id = ?1)")
            .bind(id.as_str())
            .fetch_one(&mut *connection)
            .await
            .map_err(failed)?;
        if exists || was_deleted(&mut connection, id).await? { Err(StoreError::AlreadyExists) } else { Ok(()) }
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        let mut transaction = self.begin().await?;
        let created = insert(&mut transaction, client, audit.is_some()).await?;
        self.commit(transaction, audit).await?;
        Ok(created)
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        let mut transaction = self.begin().await?;
        let initial = client.registration.as_ref().map(|known| known.details.registered_with.as_str());
        let registered: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM client WHERE json_extract(document, '$.registration.details.registered_with') = ?1",
        )
        .bind(initial.unwrap_or_default())
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;
        if row::unsigned(registered)? >= clients_max {
            return Ok(None);
        }
        let created = insert(&mut transaction, client, true).await?;
        self.commit(transaction, Some(audit)).await?;
        Ok(Some(created))
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        let mut transaction = self.begin().await?;
        expect_revision(&mut transaction, &client.id, Some(client.revision)).await?;
        let revision = log_change(&mut transaction, &ChangeKind::Client(client.id.clone())).await?;
        sqlx::query("UPDATE client SET revision = ?2, document = ?3 WHERE id = ?1")
            .bind(client.id.as_str())
            .bind(revision)
            .bind(row::client_document(client)?)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        sqlx::query(
            "DELETE FROM credential_use WHERE client_id = ?1 AND credential_id NOT IN (
                 SELECT credential.value ->> 'id'
                 FROM client, json_each(client.document, '$.credentials') AS credential
                 WHERE client.id = ?1
             )",
        )
        .bind(client.id.as_str())
        .execute(&mut *transaction)
        .await
        .map_err(failed)?;
        self.commit(transaction, audit).await?;
        Ok(Client { revision: row::unsigned(revision)?, ..client.clone() })
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        expect_revision(&mut transaction, id, revision).await?;
        log_change(&mut transaction, &ChangeKind::Client(id.clone())).await?;
        sqlx::query("DELETE FROM client WHERE id = ?1")
            .bind(id.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        self.commit(transaction, audit).await
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        let mut transaction = self.begin().await?;
        for used in uses {
            // The client may be deleted by now. If two replicas report a use, the later one counts.
            sqlx::query(
                "INSERT INTO credential_use (client_id, credential_id, last_used)
                 SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM client WHERE id = ?1)
                 ON CONFLICT (client_id, credential_id) DO UPDATE SET last_used = max(last_used, excluded.last_used)",
            )
            .bind(used.client_id.as_str())
            .bind(&used.credential_id)
            .bind(to_millis(used.time))
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }
}

/// Adds a client within a transaction, and returns it with its first revision.
async fn insert(connection: &mut SqliteConnection, client: &Client, on_record: bool) -> Result<Client, StoreError> {
    // The audit records of an ID belong to one client.
    if on_record && was_deleted(&mut *connection, &client.id).await? {
        return Err(StoreError::AlreadyExists);
    }
    let revision = log_change(&mut *connection, &ChangeKind::Client(client.id.clone())).await?;
    let inserted =
        sqlx::query("INSERT INTO client (id, revision, document) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING")
            .bind(client.id.as_str())
            .bind(revision)
            .bind(row::client_document(client)?)
            .execute(&mut *connection)
            .await
            .map_err(failed)?;
    if inserted.rows_affected() == 0 {
        return Err(StoreError::AlreadyExists);
    }
    Ok(Client { revision: row::unsigned(revision)?, ..client.clone() })
}

/// Returns the uses of the credentials of every client from `first` to `last`.
async fn uses(readers: &SqlitePool, first: &str, last: &str) -> Result<Vec<CredentialUse>, StoreError> {
    let rows = sqlx::query_as(
        "SELECT client_id, credential_id, last_used FROM credential_use WHERE client_id BETWEEN ?1 AND ?2",
    )
    .bind(first)
    .bind(last)
    .fetch_all(readers)
    .await
    .map_err(failed)?;
    rows.into_iter().map(row::credential_use).collect()
}

/// Returns true if there was a client of that ID, as far back as the admin audit goes.
async fn was_deleted(connection: &mut SqliteConnection, id: &ClientId) -> Result<bool, StoreError> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM admin_audit
             WHERE resource = ?1 AND action IN ('DeleteClient', 'DeleteRegistration'))",
    )
    .bind(id.as_str())
    .fetch_one(connection)
    .await
    .map_err(failed)
}

async fn expect_revision(
    connection: &mut SqliteConnection,
    id: &ClientId,
    expected: Option<u64>,
) -> Result<(), StoreError> {
    let current: Option<i64> = sqlx::query_scalar("SELECT revision FROM client WHERE id = ?1")
        .bind(id.as_str())
        .fetch_optional(connection)
        .await
        .map_err(failed)?;
    let current = row::unsigned(current.ok_or(StoreError::NotFound)?)?;
    if expected.is_none_or(|expected| expected == current) { Ok(()) } else { Err(StoreError::RevisionMismatch) }
}
