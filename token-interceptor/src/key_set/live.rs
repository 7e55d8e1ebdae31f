//! A key set that this program replaces itself: that of an issuer in the same process.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::KeySet;

/// The current keys of an issuer in this process, for
/// [`TrustedIssuer::live`](crate::verify::TrustedIssuer::live). Clones share them.
#[derive(Clone)]
pub struct LiveKeySet(Arc<Shared>);

struct Shared {
    keys: ArcSwap<KeySet>,
    /// Incremented with every replacement, so that cached verdicts are checked again.
    version: AtomicU64,
}

impl LiveKeySet {
    /// Creates a key set that starts with `keys`.
    #[must_use]
    pub fn new(keys: KeySet) -> Self {
        Self(Arc::new(Shared { keys: ArcSwap::from_pointee(keys), version: AtomicU64::new(0) }))
    }

    /// Replaces the keys. The next verification uses the new ones.
    pub fn replace(&self, keys: KeySet) {
        self.0.keys.store(Arc::new(keys));
        self.0.version.fetch_add(1, Ordering::AcqRel);
    }

    /// Returns the current keys.
    #[must_use]
    pub fn keys(&self) -> Arc<KeySet> {
        self.0.keys.load_full()
    }

    pub(super) fn version(&self) -> u64 {
        self.0.version.load(Ordering::Acquire)
    }
}

impl fmt::Debug for LiveKeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LiveKeySet").field(&self.keys()).finish()
    }
}
