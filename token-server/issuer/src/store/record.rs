//! Plain values that go in and out of the store, beside [`crate::client::Client`].

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use token_interceptor::{clock::numeric_date, signature::Algorithm, verify::LEEWAY_MAX};

use crate::client::ClientId;

/// Every signing key, and the version that the table has as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyTable {
    /// Counts the replacements; 0 before the first.
    pub version: u64,
    /// The keys, in the order of their IDs.
    pub keys: Vec<StoredKey>,
}

/// One signing key as it is stored: its place in time in the clear, the key itself sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// The `kid`: RFC 7638 thumbprint of the public key.
    pub key_id: String,
    /// The one algorithm that it signs with.
    pub algorithm: Algorithm,
    /// When it was made, and published.
    pub create_time: SystemTime,
    /// It signs from this time on, until another key of its algorithm does.
    pub sign_after: SystemTime,
    /// When it was found compromised, where it was.
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
    /// For a client: tokens issued before this time. For a token: when it was revoked.
    pub revoked_before: SystemTime,
    /// Verifiers may forget it after this time: the tokens have expired.
    pub forget_time: SystemTime,
    /// The client that the token was issued to, where it is known. Each client may have only so many.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RevocationTarget {
    /// The `jti` of one token.
    TokenId(String),
    /// Every token of a client issued before a time.
    Client(ClientId),
}

/// When a credential was last used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// Whose.
    pub client_id: ClientId,
    /// Which.
    pub credential_id: String,
    /// To the minute.
    pub time: SystemTime,
}

/// A filter over admin records. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AdminRecordFilter {
    /// By whom.
    pub actor: Option<String>,
    /// The action.
    pub action: Option<String>,
    /// To what.
    pub resource: Option<String>,
    /// From this time on.
    pub from: Option<SystemTime>,
    /// Before this time.
    pub until: Option<SystemTime>,
}

/// The audit record of a change, written in the transaction of the change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRecord {
    /// When.
    #[serde(with = "crate::timestamp")]
    pub time: SystemTime,
    /// The client ID of the caller, or `local:…` for an operator with direct access to the database.
    pub actor: String,
    /// The action: the method's name, such as `CreateClient`.
    pub action: String,
    /// To what: a client ID, a client ID and credential ID, a key ID.
    pub resource: String,
    /// Leads to the log.
    #[serde(default)]
    pub request_id: Option<String>,
    /// The details of the change, such as the fields of an update. Never a secret.
    #[serde(default)]
    pub detail: String,
    /// The person or program that the caller acts for, where that is not the caller itself: `sub` of the
    /// token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The actors for the subject: `act` of the token, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<String>,
    /// The revocation that is part of the change: stored in its transaction, and in its own table.
    #[serde(skip)]
    pub revokes: Option<Revocation>,
}
