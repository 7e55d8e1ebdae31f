//! The plain values of the store, in addition to [`crate::client::Client`].

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use token_interceptor::{clock::numeric_date, signature::Algorithm, verify::LEEWAY_MAX};

use crate::client::ClientId;

/// Every signing key, and the version of the whole table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    /// The number of replacements; 0 before the first.
    pub version: u64,
    /// The keys, in the order of their IDs.
    pub keys: Vec<StoredKey>,
}

/// A stored signing key: its times in the clear, the key itself sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The `kid`: RFC 7638 thumbprint of the public key.
    pub key_id: String,
    /// The one algorithm that it signs with.
    pub algorithm: Algorithm,
    /// The time at which it was generated and published.
    pub create_time: SystemTime,
    /// The time from which it signs, until another key of its algorithm does.
    pub sign_after: SystemTime,
    /// The time at which it was distrusted, if it was.
    pub distrust_time: Option<SystemTime>,
    /// True for a key that was imported, and is listed in the configuration.
    pub imported: bool,
    /// The private key, sealed.
    pub sealed: SealedKey,
}

/// A private key, sealed.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedKey {
    /// The ID of the sealing key that opens it.
    pub sealing_key_id: String,
    /// Nonce, ciphertext, tag.
    pub bytes: Vec<u8>,
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey").field("sealing_key_id", &self.sealing_key_id).finish_non_exhaustive()
    }
}

/// One token, or every token of a client issued before a time, is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// The target of the revocation.
    pub target: RevocationTarget,
    /// For a client: tokens issued before this time are revoked. For a token: the time of its revocation.
    pub revoked_before: SystemTime,
    /// The time after which verifiers may drop it, because the tokens have expired.
    pub forget_time: SystemTime,
    /// The client that the token was issued to, if it is known. The number for each client is limited.
    pub issued_to: Option<ClientId>,
}

impl Revocation {
    /// Revokes the client's tokens that were issued before a time. `iat` is in whole seconds, so the time is
    /// rounded up. `lifetime_max` is the longest lifetime of a token that may be valid now.
    #[must_use]
    pub fn of_client(id: &ClientId, issued_before: SystemTime, lifetime_max: Duration) -> Self {
        let revoked_before = whole_second_after(issued_before);
        let forget_time = revoked_before + lifetime_max + LEEWAY_MAX;
        Self { target: RevocationTarget::Client(id.clone()), revoked_before, forget_time, issued_to: None }
    }
}

fn whole_second_after(time: SystemTime) -> SystemTime {
    let whole = SystemTime::UNIX_EPOCH + Duration::from_secs(numeric_date(time));
    if whole < time { whole + Duration::from_secs(1) } else { whole }
}

/// The target of a revocation.
///
/// Exhaustive: every store and verifier must handle a new target before it compiles.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationTarget {
    /// The `jti` of one token.
    TokenId(String),
    /// Every token of a client issued before a time.
    Client(ClientId),
}

/// The last use of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// The client.
    pub client_id: ClientId,
    /// The credential.
    pub credential_id: String,
    /// The time, to the minute.
    pub time: SystemTime,
}

/// A filter over admin records. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AdminRecordFilter {
    /// The actor.
    pub actor: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// The resource.
    pub resource: Option<String>,
    /// The earliest time.
    pub from: Option<SystemTime>,
    /// The time before which the records end.
    pub until: Option<SystemTime>,
}

/// The audit record of a change, written in the transaction of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRecord {
    /// The time of the change.
    #[serde(with = "crate::timestamp")]
    pub time: SystemTime,
    /// The client ID of the caller, or `local:…` for an operator with direct access to the database.
    pub actor: String,
    /// The action: the method's name, such as `CreateClient`.
    pub action: String,
    /// The resource: a client ID, a client ID and credential ID, or a key ID.
    pub resource: String,
    /// The request ID, which also appears in the log.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The details of the change, such as the fields of an update. Never a secret.
    #[serde(default)]
    pub detail: String,
    /// The person or program that the caller acts for, if it is not the caller itself: `sub` of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The actors for the subject: `act` of the token, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// The revocation that is part of the change: stored in its transaction, and in its own table.
    #[serde(skip)]
    pub revokes: Option<Revocation>,
}
