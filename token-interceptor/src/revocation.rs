//! The set of revoked tokens: by `jti`, or every token of a client issued before a time.
//!
//! There is one set per issuer, shared by all of its verifiers. An added revocation counts from the next call
//! on. Entries are removed once the tokens have expired, so the set stays small.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use prost_types::Timestamp;
use token_proto::token::v1::{self, revocation::Target};

use crate::{clock::numeric_date, token::VerifiedToken};

/// The revocations of one issuer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: ArcSwap<Entries>,
    /// Incremented with every addition, so that cached verdicts are checked again.
    version: AtomicU64,
    writing: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Entries {
    tokens: HashMap<String, Forget>,
    clients: HashMap<String, ClientEntry>,
}

/// The NumericDate from which the entry is useless.
type Forget = u64;

#[derive(Clone, Copy, Debug)]
struct ClientEntry {
    issued_before: u64,
    forget: Forget,
}

impl Revocations {
    /// Returns an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the token with this `jti`. `forget_at` is the token's expiry.
    pub fn revoke_token(&self, token_id: impl Into<String>, forget_at: SystemTime) {
        self.change(|entries| {
            entries.tokens.insert(token_id.into(), rounded_up(forget_at));
        });
    }

    /// Revokes every token of this client with an `iat` before `issued_before`. `forget_at` is the expiry of
    /// the last of them.
    pub fn revoke_client(&self, client_id: impl Into<String>, issued_before: SystemTime, forget_at: SystemTime) {
        let entry = ClientEntry { issued_before: rounded_up(issued_before), forget: rounded_up(forget_at) };
        self.change(|entries| entries.add_client(client_id.into(), entry));
    }

    /// Applies the issuer's message atomically. If `replace` is true, it replaces every earlier entry.
    pub(crate) fn apply(&self, replace: bool, revocations: &[v1::Revocation]) {
        let nothing_to_replace = !replace || self.is_empty();
        if revocations.is_empty() && nothing_to_replace {
            return;
        }
        self.change(|entries| {
            if replace {
                *entries = Entries::default();
            }
            for revocation in revocations {
                entries.add(revocation);
            }
        });
    }

    fn is_empty(&self) -> bool {
        let entries = self.0.entries.load();
        entries.tokens.is_empty() && entries.clients.is_empty()
    }

    /// Removes the entries that no token needs at `now`.
    pub fn forget(&self, now: SystemTime) {
        if self.is_empty() {
            return;
        }
        let now = numeric_date(now);
        self.change(|entries| {
            entries.tokens.retain(|_, forget| *forget > now);
            entries.clients.retain(|_, entry| entry.forget > now);
        });
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    pub(crate) fn revokes(&self, token: &VerifiedToken) -> bool {
        let entries = self.0.entries.load();
        entries.tokens.contains_key(token.token_id())
            || entries
                .clients
                .get(token.client_id())
                .is_some_and(|entry| token.checked().issued_at < entry.issued_before)
    }

    fn change(&self, change: impl FnOnce(&mut Entries)) {
        // Writers take turns; readers never wait.
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Entries::clone(&self.0.entries.load());
        change(&mut entries);
        self.0.entries.store(Arc::new(entries));
        self.0.version.fetch_add(1, Ordering::AcqRel);
    }
}

impl Entries {
    fn add(&mut self, revocation: &v1::Revocation) {
        // An entry without a time is kept forever: rejecting too much is safe, too little is not.
        let forget = time(revocation.forget_time).unwrap_or(Forget::MAX);
        match &revocation.target {
            Some(Target::TokenId(token_id)) => {
                self.tokens.insert(token_id.clone(), forget);
            }
            Some(Target::ClientId(client_id)) => {
                let issued_before = time(revocation.issued_before_time).unwrap_or(u64::MAX);
                self.add_client(client_id.clone(), ClientEntry { issued_before, forget });
            }
            None => {}
        }
    }

    /// The later of two revocations wins.
    fn add_client(&mut self, client_id: String, entry: ClientEntry) {
        let held = self.clients.entry(client_id).or_insert(entry);
        held.issued_before = held.issued_before.max(entry.issued_before);
        held.forget = held.forget.max(entry.forget);
    }
}

fn time(timestamp: Option<Timestamp>) -> Option<u64> {
    SystemTime::try_from(timestamp?).ok().map(rounded_up)
}

/// Rounds up to whole seconds, like `iat`. A token issued in the second of its client's revocation is
/// revoked.
fn rounded_up(time: SystemTime) -> u64 {
    let part = time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.subsec_nanos() > 0);
    numeric_date(time).saturating_add(u64::from(part))
}
