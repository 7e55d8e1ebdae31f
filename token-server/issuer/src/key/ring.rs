//! The current keys, shared by the code that signs and the code that publishes.

use std::sync::Arc;

use arc_swap::ArcSwap;
use token_interceptor::{
    key_set::LiveKeySet,
    signature::{Algorithm, SigningKey},
};
use tokio::sync::watch;

use super::{KeyState, PublishedKey, PublishedKeys, Signer};

/// The current keys. Cheap to clone; every clone sees the same keys.
#[derive(Clone, Debug)]
pub struct KeyRing {
    signers: Arc<ArcSwap<Signers>>,
    published: Arc<watch::Sender<Arc<PublishedKeys>>>,
    /// The published keys, for verification in this process.
    verifying: LiveKeySet,
}

/// The active key of each algorithm.
#[derive(Debug)]
pub(super) struct Signers {
    pub(super) default: Arc<Signer>,
    pub(super) others: Vec<Arc<Signer>>,
}

impl KeyRing {
    pub(super) fn new(signers: Signers, published: PublishedKeys) -> Self {
        Self {
            verifying: LiveKeySet::new(published.key_set()),
            signers: Arc::new(ArcSwap::from_pointee(signers)),
            published: Arc::new(watch::Sender::new(Arc::new(published))),
        }
    }

    /// Creates a ring that never changes. `default` signs unless the caller asks for another algorithm.
    #[must_use]
    pub fn fixed(default: SigningKey, others: Vec<SigningKey>) -> Self {
        let signers = Signers {
            default: Arc::new(Signer::new(default)),
            others: others.into_iter().map(|key| Arc::new(Signer::new(key))).collect(),
        };
        let published = signers.all().map(|signer| PublishedKey {
            algorithm: signer.algorithm(),
            jwk: signer.public_jwk().clone(),
            state: KeyState::Active,
            sign_after: std::time::SystemTime::UNIX_EPOCH,
            verify_until: None,
        });
        let published = PublishedKeys::new(published.collect());
        Self::new(signers, published)
    }

    /// The key that signs unless the caller asks for another algorithm.
    #[must_use]
    pub(crate) fn default_signer(&self) -> Arc<Signer> {
        Arc::clone(&self.signers.load().default)
    }

    /// The key that signs with `algorithm`; `None` where none is configured.
    #[must_use]
    pub fn signer(&self, algorithm: Algorithm) -> Option<Arc<Signer>> {
        self.signers.load().all().find(|signer| signer.algorithm() == algorithm).map(Arc::clone)
    }

    /// The keys as verifiers see them.
    #[must_use]
    pub fn published(&self) -> Arc<PublishedKeys> {
        Arc::clone(&self.published.borrow())
    }

    /// The published keys, for a verifier in this process. It follows each change.
    #[must_use]
    pub fn verifying(&self) -> &LiveKeySet {
        &self.verifying
    }

    /// Subscribes to the published keys: the current ones and each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<PublishedKeys>> {
        self.published.subscribe()
    }

    /// Replaces the keys. Publishes the new keys before they sign.
    pub(super) fn replace(&self, signers: Signers, keys: Vec<PublishedKey>) {
        self.published.send_if_modified(|published| {
            let next = PublishedKeys::unless_equal(keys, published);
            let modified = !Arc::ptr_eq(published, &next);
            if modified {
                self.verifying.replace(next.key_set());
            }
            *published = next;
            modified
        });
        self.signers.store(Arc::new(signers));
    }
}

impl Signers {
    fn all(&self) -> impl Iterator<Item = &Arc<Signer>> {
        std::iter::once(&self.default).chain(&self.others)
    }
}
