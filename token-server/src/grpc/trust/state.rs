//! The facts that verifiers need at one moment, and the differences between two moments.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message as _;
use ring::digest;
use token_issuer::{
    key::PublishedKeys,
    revocation::{Part, Position},
};
use token_proto::token::v1;

use super::encode;

/// The number of versions whose position in the list of revocations is remembered. A watcher that resumes
/// from one of them gets only the later revocations. Each version takes some 50 bytes.
const VERSIONS_MAX: usize = 1024;

/// The encoded keys of one moment, computed once for all watchers.
pub(super) struct WireKeys {
    published: Arc<PublishedKeys>,
    keys: BTreeMap<String, v1::Key>,
    digest: digest::Digest,
}

/// The latest keys, and the recently sent versions.
#[derive(Default)]
pub(super) struct Latest {
    keys: Mutex<Option<Arc<WireKeys>>>,
    versions: Mutex<VecDeque<(String, Position)>>,
}

impl Latest {
    /// Returns `published`, encoded.
    pub(super) fn keys(&self, published: &Arc<PublishedKeys>) -> Arc<WireKeys> {
        let mut latest = lock(&self.keys);
        match &*latest {
            Some(keys) if Arc::ptr_eq(&keys.published, published) => Arc::clone(keys),
            Some(_) | None => Arc::clone(latest.insert(Arc::new(WireKeys::new(Arc::clone(published))))),
        }
    }

    /// Returns the name of the state after these keys and the last part of the revocations. It depends on
    /// keys and revocations alone, so a watcher may resume at another replica.
    pub(super) fn version(&self, keys: &WireKeys, last: &Part) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(keys.digest.as_ref());
        context.update(&last.digest.to_be_bytes());
        let version = URL_SAFE_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default());
        let mut versions = lock(&self.versions);
        if versions.back().is_none_or(|(known, _)| *known != version) {
            if versions.len() == VERSIONS_MAX {
                versions.pop_front();
            }
            versions.push_back((version.clone(), last.next));
        }
        version
    }

    /// Returns the position of a watcher that holds this version.
    pub(super) fn position_of(&self, version: &str) -> Option<Position> {
        lock(&self.versions).iter().rev().find(|(known, _)| known == version).map(|(_, position)| *position)
    }
}

impl WireKeys {
    fn new(published: Arc<PublishedKeys>) -> Self {
        let keys: BTreeMap<_, _> =
            published.keys.iter().map(|key| (key.jwk.key_id().to_owned(), encode::key(key))).collect();
        let mut context = digest::Context::new(&digest::SHA256);
        for key in keys.values() {
            context.update(&key.encode_length_delimited_to_vec());
        }
        Self { published, keys, digest: context.finish() }
    }

    /// Returns all keys, which replace the earlier ones.
    pub(super) fn snapshot(&self) -> v1::WatchTrustResponse {
        let keys = self.keys.values().cloned().collect();
        v1::WatchTrustResponse { snapshot: true, keys, ..v1::WatchTrustResponse::default() }
    }

    /// Returns the message that turns `before` into this.
    pub(super) fn compared_to(&self, before: &Self) -> v1::WatchTrustResponse {
        let changed = self.keys.iter().filter(|(id, key)| before.keys.get(*id) != Some(key));
        let removed = before.keys.keys().filter(|id| !self.keys.contains_key(*id));
        v1::WatchTrustResponse {
            keys: changed.map(|(_, key)| key.clone()).collect(),
            removed_key_ids: removed.cloned().collect(),
            ..v1::WatchTrustResponse::default()
        }
    }
}

/// A panic leaves no partial change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use token_interceptor::signature::{Algorithm, SigningKey};

    use super::*;
    use token_issuer::key::{KeyState, PublishedKey};

    fn key(state: KeyState) -> PublishedKey {
        let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
        PublishedKey {
            algorithm: Algorithm::Es256,
            jwk: SigningKey::from_der(Algorithm::Es256, &der).unwrap().public_jwk(),
            state,
            sign_after: SystemTime::UNIX_EPOCH,
            verify_until: None,
        }
    }

    fn published(keys: &[&PublishedKey]) -> WireKeys {
        WireKeys::new(Arc::new(PublishedKeys::new(keys.iter().copied().cloned().collect())))
    }

    fn part(digest: u128) -> Part {
        Part { entries: Vec::new(), next: Position::default(), is_last: true, digest }
    }

    #[test]
    fn delta_holds_new_changed_and_removed_keys_and_nothing_else() {
        let (kept, gone, pending, new) =
            (key(KeyState::Active), key(KeyState::Retiring), key(KeyState::Pending), key(KeyState::Pending));
        let active = PublishedKey { state: KeyState::Active, ..pending.clone() };
        let delta = published(&[&kept, &active, &new]).compared_to(&published(&[&kept, &gone, &pending]));
        let mut expected = [active.jwk.key_id(), new.jwk.key_id()];
        expected.sort_unstable();
        assert_eq!(delta.keys.iter().map(|key| &*key.key_id).collect::<Vec<_>>(), expected);
        assert_eq!(delta.removed_key_ids, [gone.jwk.key_id()]);
        assert!(!delta.snapshot && delta.revocations.is_empty());
    }

    #[test]
    fn version_follows_from_the_content_alone() {
        let key = key(KeyState::Pending);
        let active = PublishedKey { state: KeyState::Active, ..key.clone() };
        let version = |key: &PublishedKey, digest| Latest::default().version(&published(&[key]), &part(digest));
        assert_eq!(version(&key, 1), version(&key, 1));
        assert_ne!(version(&key, 1), version(&active, 1));
        assert_ne!(version(&key, 1), version(&key, 2));
    }

    #[test]
    fn versions_that_are_remembered_are_bounded() {
        let (latest, keys) = (Latest::default(), published(&[]));
        let first = latest.version(&keys, &part(0));
        assert!(latest.position_of(&first).is_some());
        for digest in 1..5000 {
            latest.version(&keys, &part(digest));
        }
        assert_eq!(lock(&latest.versions).len(), VERSIONS_MAX);
        assert!(latest.position_of(&first).is_none());
    }
}
