//! Converts between domain values and the columns that both databases share. A tuple is a row, in column
//! order.

use std::time::Duration;

use token_interceptor::signature::Algorithm;
use token_issuer::store::{
    AdminRecord, Change, ChangeKind, CredentialUse, LogPage, Revocation, RevocationTarget, SealedKey, StoreError,
    StoredKey,
};
use token_issuer::{
    client::{Client, ClientId},
    timestamp::from_millis,
};

/// `revision, document`.
pub(super) fn client((revision, document): (i64, String)) -> Result<Client, StoreError> {
    let mut client: Client = serde_json::from_str(&document).map_err(StoreError::corrupt)?;
    client.revision = unsigned(revision)?;
    Ok(client)
}

pub(super) fn client_document(client: &Client) -> Result<String, StoreError> {
    serde_json::to_string(client).map_err(StoreError::corrupt)
}

/// Copies the use times, which are stored beside the document, into the client.
pub(super) fn note_uses(client: &mut Client, uses: &[CredentialUse]) {
    for used in uses.iter().filter(|used| used.client_id == client.id) {
        for credential in client.credentials.iter_mut().filter(|credential| credential.id == used.credential_id) {
            credential.last_used_time = Some(used.time);
        }
    }
}

/// `client_id, credential_id, last_used`.
pub(super) fn credential_use(
    (client_id, credential_id, last_used): (String, String, i64),
) -> Result<CredentialUse, StoreError> {
    Ok(CredentialUse { client_id: client_id_of(&client_id)?, credential_id, time: from_millis(last_used) })
}

/// `key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, sealed`.
pub(super) fn key(
    (key_id, algorithm, create_time, sign_after, distrust_time, imported, sealing_key_id, bytes): (
        String,
        String,
        i64,
        i64,
        Option<i64>,
        bool,
        String,
        Vec<u8>,
    ),
) -> Result<StoredKey, StoreError> {
    Ok(StoredKey {
        key_id,
        algorithm: Algorithm::from_name(&algorithm)
            .ok_or_else(|| StoreError::corrupt(format!("unknown algorithm {algorithm:?}")))?,
        create_time: from_millis(create_time),
        sign_after: from_millis(sign_after),
        distrust_time: distrust_time.map(from_millis),
        imported,
        sealed: SealedKey { sealing_key_id, bytes },
    })
}

/// The kind and subject of a change, as columns of the change log.
pub(super) fn change_columns(kind: &ChangeKind) -> (&'static str, &str) {
    match kind {
        ChangeKind::Client(id) => ("client", id.as_str()),
        ChangeKind::Keys => ("keys", ""),
        ChangeKind::Revocation(RevocationTarget::TokenId(id)) => ("revoked_token", id),
        ChangeKind::Revocation(RevocationTarget::Client(id)) => ("revoked_client", id.as_str()),
    }
}

/// `epoch, sequence, time, mark, kind, subject`. All but the first are NULL if no change was found.
pub(super) type LogRow = (String, Option<i64>, Option<i64>, Option<String>, Option<String>, Option<String>);

/// Converts at least one row: each row repeats the epoch.
pub(super) fn log_page(rows: Vec<LogRow>) -> Result<LogPage, StoreError> {
    let epoch = rows.first().map(|row| row.0.clone());
    let epoch = epoch.ok_or_else(|| StoreError::corrupt("the table store_epoch is empty"))?;
    let changes = rows
        .into_iter()
        .filter_map(|(_, sequence, time, mark, kind, subject)| Some(change(sequence?, time?, mark?, &kind?, subject?)));
    Ok(LogPage { epoch, changes: changes.collect::<Result<_, _>>()? })
}

/// An unknown kind or subject is not an error: during a rolling update, a later version also writes to the
/// log.
fn change(sequence: i64, time: i64, mark: String, kind: &str, subject: String) -> Result<Change, StoreError> {
    let client = |subject: &str| ClientId::try_from(subject).ok();
    let kind = match kind {
        "client" => client(&subject).map(ChangeKind::Client),
        "keys" => Some(ChangeKind::Keys),
        "revoked_token" => Some(ChangeKind::Revocation(RevocationTarget::TokenId(subject))),
        "revoked_client" => client(&subject).map(|id| ChangeKind::Revocation(RevocationTarget::Client(id))),
        _ => None,
    };
    Ok(Change { sequence: unsigned(sequence)?, time: from_millis(time), mark, kind })
}

/// The kind and target of a revocation, as columns.
pub(super) fn target_columns(target: &RevocationTarget) -> (&'static str, &str) {
    match target {
        RevocationTarget::TokenId(id) => ("token", id),
        RevocationTarget::Client(id) => ("client", id.as_str()),
    }
}

/// `kind, target, revoked_before, forget_time, issued_to`.
pub(super) fn revocation(
    (kind, target, revoked_before, forget_time, issued_to): (String, String, i64, i64, Option<String>),
) -> Result<Revocation, StoreError> {
    let target = match kind.as_str() {
        "token" => RevocationTarget::TokenId(target),
        "client" => RevocationTarget::Client(client_id_of(&target)?),
        _ => return Err(StoreError::corrupt(format!("unknown kind of revocation {kind:?}"))),
    };
    let (revoked_before, forget_time) = (from_millis(revoked_before), from_millis(forget_time));
    let issued_to = issued_to.as_deref().map(client_id_of).transpose()?;
    Ok(Revocation { target, revoked_before, forget_time, issued_to })
}

/// `max(lifetime)`, which is at least the configured lifetime.
pub(super) fn lifetime(longest: Option<i64>, configured: Duration) -> Result<Duration, StoreError> {
    let longest = longest.map(unsigned).transpose()?.map_or(configured, Duration::from_millis);
    Ok(longest.max(configured))
}

pub(super) fn admin_document(record: &AdminRecord) -> Result<String, StoreError> {
    serde_json::to_string(record).map_err(StoreError::corrupt)
}

/// `number, document`.
pub(super) fn admin_record((number, document): (i64, String)) -> Result<(u64, AdminRecord), StoreError> {
    Ok((unsigned(number)?, serde_json::from_str(&document).map_err(StoreError::corrupt)?))
}

/// Converts a database's signed integer.
pub(super) fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(StoreError::corrupt)
}

/// Converts a duration to milliseconds, for arithmetic in SQL.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

/// Converts to a database's signed integer. Our counters never reach the maximum.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn client_id_of(text: &str) -> Result<ClientId, StoreError> {
    ClientId::try_from(text).map_err(StoreError::corrupt)
}
