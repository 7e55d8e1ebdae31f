//! Clients.

use async_trait::async_trait;
use token_issuer::{
    client::{Client, ClientId, SubjectMatch},
    store::{AdminRecord, ChangeKind, ClientStore, CredentialUse, StoreError},
    timestamp::to_millis,
};

use super::{Database, Dialect, Purpose, Row, Session, SqlStore, Value, log_change, maybe, one};
use crate::row;

const SELECT: &str = "SELECT revision, CAST(document AS text) FROM client WHERE id = $1";

#[async_trait]
impl<D: Database> ClientStore for SqlStore<D> {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        let Some(found) = maybe(&mut *session, SELECT, &[id.as_str().into()]).await? else { return Ok(None) };
        let mut client = client(&found)?;
        row::note_uses(&mut client, &uses(&mut *session, id, id).await?);
        Ok(Some(client))
    }

    async fn lookup(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        let mut session = self.database.session(Purpose::Lookup).await?;
        maybe(&mut *session, SELECT, &[id.as_str().into()]).await?.as_ref().map(client).transpose()
    }

    async fn clients_by_id(&self, ids: &[ClientId]) -> Result<Vec<Client>, StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        let ids: Vec<&str> = ids.iter().map(ClientId::as_str).collect();
        let ids = serde_json::to_string(&ids).map_err(StoreError::corrupt)?;
        let rows = session.rows(self.database.dialect().clients_by_id, &[Value::Json(&ids)]).await?;
        rows.iter().map(client).collect()
    }

    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError> {
        let mut session = self.database.session(Purpose::Lookup).await?;
        let keys = serde_json::to_string(&SubjectMatch::keys_of(subject)).map_err(StoreError::corrupt)?;
        let values = [issuer.into(), Value::Json(&keys), i64::from(limit).into()];
        let rows = session.rows(self.database.dialect().federated_clients, &values).await?;
        rows.iter().map(|found| row::client_id_of(found.get::<String>(0)?.as_str())).collect()
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        // No ID is empty: "" comes before all of them.
        let select = "SELECT revision, CAST(document AS text) FROM client WHERE id > $1 ORDER BY id LIMIT $2";
        let after = after.map_or("", ClientId::as_str);
        let rows = session.rows(select, &[after.into(), i64::from(limit).into()]).await?;
        let mut clients = rows.iter().map(client).collect::<Result<Vec<_>, _>>()?;
        if let (Some(first), Some(last)) = (clients.first(), clients.last()) {
            let uses = uses(&mut *session, &first.id, &last.id).await?;
            clients.iter_mut().for_each(|client| row::note_uses(client, &uses));
        }
        Ok(clients)
    }

    async fn expect_free(&self, id: &ClientId) -> Result<(), StoreError> {
        let mut session = self.database.session(Purpose::Read).await?;
        let exists = "SELECT EXISTS (SELECT 1 FROM client WHERE id = $1)";
        let exists: bool = one(&mut *session, exists, &[id.as_str().into()]).await?.get(0)?;
        if exists || was_deleted(&mut *session, id).await? { Err(StoreError::AlreadyExists) } else { Ok(()) }
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        let mut change = self.database.change().await?;
        let created = insert(&mut *change, self.database.dialect(), client, audit.is_some()).await?;
        self.database.commit(change, audit).await?;
        Ok(created)
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        let mut change = self.database.change().await?;
        let initial = client.registration.as_ref().map(|known| known.details.registered_with.as_str());
        let count = "SELECT count(*) FROM client
                     WHERE document -> 'registration' -> 'details' ->> 'registered_with' = $1";
        let registered = one(&mut *change, count, &[initial.unwrap_or_default().into()]).await?.get(0)?;
        if row::unsigned(registered)? >= clients_max {
            return Ok(None);
        }
        let created = insert(&mut *change, self.database.dialect(), client, true).await?;
        self.database.commit(change, Some(audit)).await?;
        Ok(Some(created))
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        let mut change = self.database.change().await?;
        expect_revision(&mut *change, &client.id, Some(client.revision)).await?;
        let kind = ChangeKind::Client(client.id.clone());
        let revision = log_change(&mut *change, self.database.dialect(), &kind).await?;
        let (id, document) = (client.id.as_str(), row::client_document(client)?);
        let update = "UPDATE client SET revision = $2, document = $3 WHERE id = $1";
        change.execute(update, &[id.into(), revision.into(), Value::Json(&document)]).await?;
        change.execute(self.database.dialect().forget_uses, &[id.into()]).await?;
        index(&mut *change, client).await?;
        self.database.commit(change, audit).await?;
        Ok(Client { revision: row::unsigned(revision)?, ..client.clone() })
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        let mut change = self.database.change().await?;
        expect_revision(&mut *change, id, revision).await?;
        remove(&mut *change, self.database.dialect(), id).await?;
        self.database.commit(change, audit).await
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        let mut change = self.database.change().await?;
        // The client may have been deleted. Of two replicas' notes the later counts.
        let insert = "INSERT INTO credential_use (client_id, credential_id, last_used)
                      SELECT $1, $2, $3 WHERE EXISTS (SELECT 1 FROM client WHERE id = $1)
                      ON CONFLICT (client_id, credential_id) DO UPDATE SET last_used = CASE
                          WHEN credential_use.last_used > excluded.last_used THEN credential_use.last_used
                          ELSE excluded.last_used
                      END";
        for used in uses {
            let values =
                [used.client_id.as_str().into(), used.credential_id.as_str().into(), to_millis(used.time).into()];
            change.execute(insert, &values).await?;
        }
        change.commit().await
    }
}

/// Removes a client within a change.
pub(crate) async fn remove(session: &mut dyn Session, dialect: &Dialect, id: &ClientId) -> Result<(), StoreError> {
    log_change(session, dialect, &ChangeKind::Client(id.clone())).await?;
    session.execute("DELETE FROM client WHERE id = $1", &[id.as_str().into()]).await?;
    Ok(())
}

/// Adds a client within a change. Returns it with its first revision.
async fn insert(
    session: &mut dyn Session,
    dialect: &Dialect,
    client: &Client,
    on_record: bool,
) -> Result<Client, StoreError> {
    // The records about an ID are about one client.
    if on_record && was_deleted(session, &client.id).await? {
        return Err(StoreError::AlreadyExists);
    }
    let revision = log_change(session, dialect, &ChangeKind::Client(client.id.clone())).await?;
    let insert = "INSERT INTO client (id, revision, document) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING";
    let (id, document) = (client.id.as_str(), row::client_document(client)?);
    if session.execute(insert, &[id.into(), revision.into(), Value::Json(&document)]).await? == 0 {
        return Err(StoreError::AlreadyExists);
    }
    index(session, client).await?;
    Ok(Client { revision: row::unsigned(revision)?, ..client.clone() })
}

/// Writes the federated identities of a client within a change, in place of the earlier ones.
pub(crate) async fn index(session: &mut dyn Session, client: &Client) -> Result<(), StoreError> {
    let id = client.id.as_str();
    session.execute("DELETE FROM federated_identity WHERE client_id = $1", &[id.into()]).await?;
    let insert = "INSERT INTO federated_identity (issuer, subject, client_id) VALUES ($1, $2, $3)
                  ON CONFLICT (issuer, subject, client_id) DO NOTHING";
    for identity in client.federated_identities() {
        let subject = identity.subject.key();
        let values = [identity.issuer.as_str().into(), subject.as_str().into(), id.into()];
        session.execute(insert, &values).await?;
    }
    Ok(())
}

/// Returns the uses of the credentials of every client from `first` to `last`.
async fn uses(session: &mut dyn Session, first: &ClientId, last: &ClientId) -> Result<Vec<CredentialUse>, StoreError> {
    let select = "SELECT client_id, credential_id, last_used FROM credential_use WHERE client_id BETWEEN $1 AND $2";
    let rows = session.rows(select, &[first.as_str().into(), last.as_str().into()]).await?;
    rows.iter().map(|row| row::credential_use((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// Returns true if a client with this ID was deleted, as far as the record of changes goes back.
async fn was_deleted(session: &mut dyn Session, id: &ClientId) -> Result<bool, StoreError> {
    let select = "SELECT EXISTS (SELECT 1 FROM admin_audit
                      WHERE resource = $1 AND action IN ('DeleteClient', 'DeleteRegistration'))";
    one(session, select, &[id.as_str().into()]).await?.get(0)
}

async fn expect_revision(session: &mut dyn Session, id: &ClientId, expected: Option<u64>) -> Result<(), StoreError> {
    let current = maybe(session, "SELECT revision FROM client WHERE id = $1", &[id.as_str().into()]).await?;
    let current = row::unsigned(current.ok_or(StoreError::NotFound)?.get(0)?)?;
    if expected.is_none_or(|expected| expected == current) { Ok(()) } else { Err(StoreError::RevisionMismatch) }
}

/// `revision, document`.
pub(crate) fn client(row: &Row) -> Result<Client, StoreError> {
    row::client((row.get(0)?, row.get(1)?))
}
