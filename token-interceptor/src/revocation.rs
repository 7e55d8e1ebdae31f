//! Revoked tokens: single ones by their `jti`, or every token of a client that was issued before a time.
//!
//! A set belongs to one issuer. All verifiers of its tokens share it. A revocation counts from the next call
//! on. The set keeps hashes, not names. Adding an entry costs the same in a small and in a large set. An
//! entry is removed once its tokens have expired.

mod target;

use std::{
    collections::{HashMap, hash_map},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::SystemTime,
};

pub(crate) use target::numeric_date_after;
pub use target::{Revoked, TargetHash};

use crate::{
    clock::{Clock, numeric_date},
    token::VerifiedToken,
};

/// The number of parts of a set. Each part has a lock of its own. A part that grows or is swept is small, and
/// holds up few readers.
const SHARDS: usize = 64;

/// The revocations of one issuer. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Revocations(Arc<Shared>);

struct Shared {
    shards: Box<[RwLock<Shard>]>,
    /// Rises with every addition. A cached verdict from an earlier version is checked again.
    version: AtomicU64,
    entries: AtomicUsize,
    /// The clock that entries expire by.
    clock: OnceLock<Arc<dyn Clock>>,
    sweep: Sweep,
}

/// The progress of the removal of expired entries.
#[derive(Debug, Default)]
struct Sweep {
    /// The second of the last one.
    time: AtomicU64,
    /// Shards swept so far.
    shards: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard(HashMap<TargetHash, Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    issued_before: u64,
    forget: u64,
}

/// The outcome of [`Revocations::add`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Addition {
    /// The target was not revoked before.
    New,
    /// The target was revoked before, for less: both entries are merged into the new one.
    Extended {
        /// The entry before.
        before: Revoked,
        /// The entry now.
        after: Revoked,
    },
    /// Nothing has changed.
    Known,
}

impl Revocations {
    /// Creates an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Revokes the token with this `jti`. `forget_at`: when the token has expired.
    pub fn revoke_token(&self, token_id: impl AsRef<str>, forget_at: SystemTime) {
        self.add(Revoked::token(token_id.as_ref(), forget_at));
    }

    /// Revokes every token of this client with an `iat` before `issued_before`. `forget_at`: when the last of
    /// them has expired.
    pub fn revoke_client(&self, client_id: impl AsRef<str>, issued_before: SystemTime, forget_at: SystemTime) {
        self.add(Revoked::client(client_id.as_ref(), issued_before, forget_at));
    }

    /// Adds an entry. Nothing that is revoked becomes valid by it: the later times of two entries hold.
    pub fn add(&self, revoked: Revoked) -> Addition {
        let Some(shard) = self.shard(&revoked.target) else { return Addition::Known };
        let addition = write(shard).add(revoked);
        match addition {
            Addition::New => {
                self.0.entries.fetch_add(1, Ordering::AcqRel);
                self.0.version.fetch_add(1, Ordering::AcqRel);
            }
            Addition::Extended { .. } => {
                self.0.version.fetch_add(1, Ordering::AcqRel);
            }
            Addition::Known => {}
        }
        self.sweep_by_clock();
        addition
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.load(Ordering::Acquire)
    }

    /// Returns true if no entry is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops the entries that no token needs any more at `now`. A set of a verifier does so by itself.
    pub fn forget(&self, now: SystemTime) {
        if !self.is_empty() {
            self.sweep_shards(numeric_date(now), SHARDS);
        }
    }

    /// From now on entries expire by this clock. The first one stays.
    pub(crate) fn expire_by(&self, clock: &Arc<dyn Clock>) {
        let _ = self.0.clock.set(Arc::clone(clock));
    }

    pub(crate) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }

    fn revokes(&self, target: &TargetHash, issued_at: u64) -> bool {
        let Some(shard) = self.shard(target) else { return false };
        read(shard).0.get(target).is_some_and(|entry| issued_at < entry.issued_before)
    }

    fn shard(&self, target: &TargetHash) -> Option<&RwLock<Shard>> {
        self.0.shards.get(target.number() % SHARDS)
    }

    /// Sweeps one shard for each second that has passed. Each call does little, and a minute covers all
    /// shards.
    fn sweep_by_clock(&self) {
        let Some(clock) = self.0.clock.get() else { return };
        let now = numeric_date(clock.now());
        let last = self.0.sweep.time.load(Ordering::Acquire);
        if now == last {
            return;
        }
        // A clock that was set back is followed too.
        let claimed = self.0.sweep.time.compare_exchange(last, now, Ordering::AcqRel, Ordering::Relaxed);
        if claimed.is_ok() && !self.is_empty() {
            let seconds = usize::try_from(now.saturating_sub(last)).unwrap_or(SHARDS);
            self.sweep_shards(now, seconds.clamp(1, SHARDS));
        }
    }

    fn sweep_shards(&self, now: u64, shards: usize) {
        let first = self.0.sweep.shards.fetch_add(shards, Ordering::AcqRel);
        for number in 0..shards {
            let Some(shard) = self.0.shards.get(first.wrapping_add(number) % SHARDS) else { continue };
            let swept = write(shard).sweep(now);
            self.0.entries.fetch_sub(swept, Ordering::AcqRel);
        }
    }
}

/// The revocations that apply to the tokens of one issuer: the program's own, and those that the issuer
/// pushes. They are two sets: the program's own may apply to several issuers, and a pushed entry never
/// replaces one of them.
#[derive(Clone, Debug)]
pub(crate) struct RevocationSets {
    pub(crate) own: Revocations,
    pub(crate) pushed: Option<Revocations>,
}

impl RevocationSets {
    /// Changes with every addition to either.
    pub(crate) fn version(&self) -> u64 {
        self.own.version().wrapping_add(self.pushed.as_ref().map_or(0, Revocations::version))
    }

    /// Returns true if the token, its client, or one of its ancestors or their clients is revoked.
    pub(crate) fn revokes(&self, token: &VerifiedToken) -> bool {
        self.own.sweep_by_clock();
        let sets = [Some(&self.own), self.pushed.as_ref()].map(|set| set.filter(|set| !set.is_empty()));
        if sets.iter().all(Option::is_none) {
            return false;
        }
        let revoked = |target: TargetHash, issued_at| {
            sets.iter().flatten().any(|set: &&Revocations| set.revokes(&target, issued_at))
        };
        let of = |token_id: &str, client_id: &str, issued_at| {
            revoked(TargetHash::of_token(token_id), issued_at) || revoked(TargetHash::of_client(client_id), issued_at)
        };
        of(token.token_id(), token.client_id(), token.checked().issued_at)
            || token.ancestors().any(|ancestor| of(ancestor.token_id, ancestor.client_id, ancestor.issued_at))
    }
}

impl Shard {
    fn add(&mut self, revoked: Revoked) -> Addition {
        let Revoked { target, issued_before, forget } = revoked;
        let mut held = match self.0.entry(target) {
            hash_map::Entry::Vacant(place) => {
                place.insert(Entry { issued_before, forget });
                return Addition::New;
            }
            hash_map::Entry::Occupied(held) => held,
        };
        let before = *held.get();
        let after = Entry { issued_before: before.issued_before.max(issued_before), forget: before.forget.max(forget) };
        if after == before {
            return Addition::Known;
        }
        held.insert(after);
        Addition::Extended { before: before.of(target), after: after.of(target) }
    }

    /// Returns how many entries are gone.
    fn sweep(&mut self, now: u64) -> usize {
        let before = self.0.len();
        self.0.retain(|_, entry| entry.forget > now);
        if self.0.capacity() > 4 * self.0.len() {
            self.0.shrink_to(2 * self.0.len());
        }
        before - self.0.len()
    }
}

impl Entry {
    fn of(self, target: TargetHash) -> Revoked {
        Revoked { target, issued_before: self.issued_before, forget: self.forget }
    }
}

/// A panic leaves no shard half changed.
fn read(shard: &RwLock<Shard>) -> RwLockReadGuard<'_, Shard> {
    shard.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(shard: &RwLock<Shard>) -> RwLockWriteGuard<'_, Shard> {
    shard.write().unwrap_or_else(PoisonError::into_inner)
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            version: AtomicU64::new(0),
            entries: AtomicUsize::new(0),
            clock: OnceLock::new(),
            sweep: Sweep::default(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revocations").field("entries", &self.entries).field("version", &self.version).finish()
    }
}

#[cfg(test)]
mod tests;
