//! Replaces all clients by the declared ones, in one transaction.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use token_issuer::{
    client::{Client, ClientId},
    store::{AdminRecord, ChangeKind, Revocation, StoreError},
    timestamp,
};

use super::{DIALECT, SqliteStore};
use crate::{
    row,
    sql::{self, Database as _, Session, Value, log_change},
};

/// The actor in the audit of changes that a file declares.
const ACTOR: &str = "token-server";

impl SqliteStore {
    /// Replaces the clients by the declared ones, in one transaction. An equal client stays unchanged. A
    /// different one is replaced, and an undeclared one is removed. Returns the number of changed clients.
    ///
    /// With `lifetime_max`, the longest lifetime of a token that may be valid now, the tokens of clients that
    /// are removed or disabled are revoked in the same transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`]. Nothing has changed then.
    pub async fn declare_clients(
        &self,
        declared: &[Client],
        now: SystemTime,
        lifetime_max: Option<Duration>,
    ) -> Result<usize, StoreError> {
        let now = timestamp::stored(now);
        let ended = |id: &ClientId| lifetime_max.map(|lifetime_max| Revocation::of_client(id, now, lifetime_max));
        let mut change = self.database.change().await?;
        let mut there = clients(&mut *change).await?;
        let mut changed = 0;
        for wanted in declared {
            let before = there.remove(&wanted.id);
            let client = in_time(wanted, before.as_ref(), now);
            if before.as_ref().is_some_and(|before| same(before, &client)) {
                continue;
            }
            let action = if before.is_some() { "UpdateClient" } else { "CreateClient" };
            let disabled = client.disabled && before.is_some_and(|before| !before.disabled);
            let revokes = if disabled { ended(&client.id) } else { None };
            put(&mut *change, &client).await?;
            sql::record(&mut *change, &DIALECT, &record(&client.id, action, now, revokes)).await?;
            changed += 1;
        }
        for id in there.into_keys() {
            sql::clients::remove(&mut *change, &DIALECT, &id).await?;
            sql::record(&mut *change, &DIALECT, &record(&id, "DeleteClient", now, ended(&id))).await?;
            changed += 1;
        }
        self.database.commit(change, None).await?;
        Ok(changed)
    }
}

async fn clients(session: &mut dyn Session) -> Result<BTreeMap<ClientId, Client>, StoreError> {
    let rows = session.rows("SELECT revision, document FROM client", &[]).await?;
    let clients = rows.iter().map(sql::clients::client);
    clients.map(|client| client.map(|client| (client.id.clone(), client))).collect()
}

/// Sets the times that a file does not contain. Existing parts keep their times.
fn in_time(wanted: &Client, before: Option<&Client>, now: SystemTime) -> Client {
    let mut client = wanted.clone();
    client.create_time = before.map_or(now, |before| before.create_time);
    client.update_time = now;
    for credential in &mut client.credentials {
        let known = before.and_then(|before| before.credentials.iter().find(|known| known.id == credential.id));
        credential.create_time = known.map_or(now, |known| known.create_time);
    }
    client
}

fn same(before: &Client, client: &Client) -> bool {
    *before == Client { revision: before.revision, update_time: before.update_time, ..client.clone() }
}

async fn put(session: &mut dyn Session, client: &Client) -> Result<(), StoreError> {
    let revision = log_change(session, &DIALECT, &ChangeKind::Client(client.id.clone())).await?;
    let (id, document) = (client.id.as_str(), row::client_document(client)?);
    let insert = "INSERT INTO client (id, revision, document) VALUES ($1, $2, $3)
                  ON CONFLICT (id) DO UPDATE SET revision = excluded.revision, document = excluded.document";
    session.execute(insert, &[id.into(), revision.into(), Value::Json(&document)]).await?;
    sql::clients::index(session, client).await
}

fn record(id: &ClientId, action: &str, time: SystemTime, revokes: Option<Revocation>) -> AdminRecord {
    AdminRecord {
        time,
        actor: ACTOR.to_owned(),
        action: action.to_owned(),
        resource: id.as_str().to_owned(),
        request_id: None,
        detail: if revokes.is_some() { "declared tokens revoked" } else { "declared" }.to_owned(),
        subject: None,
        act: None,
        revokes,
    }
}
