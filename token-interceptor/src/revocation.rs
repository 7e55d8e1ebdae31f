//! Tokens that are good no more before they expire: by `jti`, or every token of a client issued before a time.
//!
//! One set per issuer, shared by all that verify its tokens; whoever learns of a revocation adds it, and it
//! counts from the next call on. Entries go once the tokens have expired, so the set stays small.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;

use crate::{clock::numeric_date, token::VerifiedToken};

/// The revocations of one issuer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    entries: ArcSwap<Entries>,
    /// Rises with every addition: a verdict that was reached before is looked at again.
    version: AtomicU64,
    writing: Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Entries {
    tokens: HashMap<String, Forget>,
    clients: HashMap<String, ClientEntry>,
}

/// From this NumericDate on, the entry is of no use.
type Forget = u64;

#[derive(Clone, Copy, Debug)]
struct ClientEntry {
    issued_before: u64,
    forget: Forget,
}

impl Revocations {
    /// No revocations yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the token with this `jti`. `forget_at`: when the token has expired.
    pub fn revoke_token(&self, token_id: impl Into<String>, forget_at: SystemTime) {
        self.change(|entries| {
            entries.tokens.insert(token_id.into(), numeric_date(forget_at));
        });
    }

    /// Revokes every token of this client with an `iat` before `issued_before`. `forget_at`: when the last of
    /// them has expired.
    pub fn revoke_client(&self, client_id: impl Into<String>, issued_before: SystemTime, forget_at: SystemTime) {
        let (issued_before, forget) = (numeric_date(issued_before), numeric_date(forget_at));
        self.change(|entries| {
            let entry = entries.clients.entry(client_id.into()).or_insert(ClientEntry { issued_before, forget });
            entry.issued_before = entry.issued_before.max(issued_before);
            entry.forget = entry.forget.max(forget);
        });
    }

    /// Drops what no token needs any more at `now`.
    pub fn forget(&self, now: SystemTime) {
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
        // One writer at a time; readers never wait.
        let _writing = self.0.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = Entries::clone(&self.0.entries.load());
        change(&mut entries);
        self.0.entries.store(Arc::new(entries));
        self.0.version.fetch_add(1, Ordering::AcqRel);
    }
}
