//! The data that verifiers need at one moment, and the deltas between moments.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use ring::digest;
use token_proto::token::v1;

use super::encode;
use crate::{
    key::PublishedKeys,
    revocation::Revoked,
    store::{Revocation, RevocationTarget},
};

/// The keys and revocations of one moment. Computed once for all watchers.
pub(super) struct State {
    keys: Arc<PublishedKeys>,
    revoked: Revoked,
    wire_keys: BTreeMap<String, v1::Key>,
    version: String,
    /// The delta from the previous state, which nearly every watcher has.
    step: Option<Step>,
}

struct Step {
    from: String,
    delta: v1::WatchTrustResponse,
}

/// The latest state.
#[derive(Default)]
pub(super) struct Latest(Mutex<Option<Arc<State>>>);

impl Latest {
    /// Returns the state of these keys and revocations.
    pub(super) fn state(&self, keys: Arc<PublishedKeys>, revoked: Revoked) -> Arc<State> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = latest.as_ref().filter(|state| state.is_of(&keys, &revoked)) {
            return Arc::clone(state);
        }
        let mut state = State::new(keys, revoked);
        state.step =
            latest.as_ref().map(|before| Step { from: before.version.clone(), delta: state.compared_to(before) });
        Arc::clone(latest.insert(Arc::new(state)))
    }
}

impl State {
    fn new(keys: Arc<PublishedKeys>, revoked: Revoked) -> Self {
        let wire_keys: BTreeMap<_, _> =
            keys.keys.iter().map(|key| (key.jwk.key_id().to_owned(), encode::key(key))).collect();
        let version = version(&wire_keys, revoked.values());
        Self { keys, revoked, wire_keys, version, step: None }
    }

    fn is_of(&self, keys: &Arc<PublishedKeys>, revoked: &Revoked) -> bool {
        Arc::ptr_eq(&self.keys, keys) && Arc::ptr_eq(&self.revoked, revoked)
    }

    /// Returns the version of the state. It depends on keys and revocations alone, so a watcher may resume at
    /// another replica.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn snapshot(&self) -> v1::WatchTrustResponse {
        v1::WatchTrustResponse {
            snapshot: true,
            keys: self.wire_keys.values().cloned().collect(),
            revocations: self.revoked.values().map(encode::revocation).collect(),
            ..self.nothing_new()
        }
    }

    pub(super) fn nothing_new(&self) -> v1::WatchTrustResponse {
        v1::WatchTrustResponse { version: self.version.clone(), ..v1::WatchTrustResponse::default() }
    }

    /// Returns the delta from `before` to this state.
    pub(super) fn delta(&self, before: &Self) -> v1::WatchTrustResponse {
        match &self.step {
            Some(step) if step.from == before.version => step.delta.clone(),
            Some(_) | None => self.compared_to(before),
        }
    }

    fn compared_to(&self, before: &Self) -> v1::WatchTrustResponse {
        let changed = self.wire_keys.iter().filter(|(id, key)| before.wire_keys.get(*id) != Some(key));
        let removed = before.wire_keys.keys().filter(|id| !self.wire_keys.contains_key(*id));
        // A revocation that left the list has expired: verifiers drop it by themselves.
        let is_new =
            |(target, revocation): &(&RevocationTarget, &Revocation)| before.revoked.get(*target) != Some(*revocation);
        v1::WatchTrustResponse {
            keys: changed.map(|(_, key)| key.clone()).collect(),
            removed_key_ids: removed.cloned().collect(),
            revocations: self
                .revoked
                .iter()
                .filter(is_new)
                .map(|(_, revocation)| encode::revocation(revocation))
                .collect(),
            ..self.nothing_new()
        }
    }
}

fn version<'a>(keys: &BTreeMap<String, v1::Key>, revoked: impl Iterator<Item = &'a Revocation>) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for key in keys.values() {
        context.update(&key.encode_length_delimited_to_vec());
    }
    for revocation in revoked {
        context.update(&encode::revocation(revocation).encode_length_delimited_to_vec());
    }
    URL_SAFE_NO_PAD.encode(context.finish().as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use token_interceptor::signature::{Algorithm, SigningKey};

    use super::*;
    use crate::key::{KeyState, PublishedKey};

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

    fn published(keys: &[&PublishedKey]) -> Arc<PublishedKeys> {
        Arc::new(PublishedKeys::new(keys.iter().copied().cloned().collect()))
    }

    fn revoked(tokens: &[(&str, u64)]) -> Revoked {
        let tokens = tokens.iter().map(|(token_id, seconds)| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(*seconds);
            let target = RevocationTarget::TokenId((*token_id).to_owned());
            (target.clone(), Revocation { target, revoked_before: time, forget_time: time })
        });
        Arc::new(tokens.collect())
    }

    fn ids(delta: &v1::WatchTrustResponse) -> Vec<&str> {
        delta.keys.iter().map(|key| &*key.key_id).collect()
    }

    #[test]
    fn delta_holds_new_changed_and_removed_keys_and_nothing_else() {
        let (kept, gone, pending, new) =
            (key(KeyState::Active), key(KeyState::Retiring), key(KeyState::Pending), key(KeyState::Pending));
        let active = PublishedKey { state: KeyState::Active, ..pending.clone() };
        let before = State::new(published(&[&kept, &gone, &pending]), revoked(&[]));
        let after = State::new(published(&[&kept, &active, &new]), revoked(&[]));
        let delta = after.delta(&before);
        let mut expected = [active.jwk.key_id(), new.jwk.key_id()];
        expected.sort_unstable();
        assert_eq!(ids(&delta), expected);
        assert_eq!(delta.removed_key_ids, [gone.jwk.key_id()]);
        assert!(!delta.snapshot && delta.revocations.is_empty());
    }

    #[test]
    fn delta_holds_new_and_later_revocations_and_not_those_forgotten() {
        let keys = published(&[]);
        let before = State::new(Arc::clone(&keys), revoked(&[("a", 1), ("b", 1), ("c", 1)]));
        let after = State::new(keys, revoked(&[("b", 1), ("c", 2), ("d", 1)]));
        let delta = after.delta(&before);
        let targets: Vec<_> = delta.revocations.into_iter().filter_map(|revocation| revocation.target).collect();
        assert_eq!(targets, ["c", "d"].map(|id| v1::revocation::Target::TokenId(id.to_owned())));
    }

    #[test]
    fn version_follows_from_the_content_alone() {
        let key = key(KeyState::Pending);
        let active = PublishedKey { state: KeyState::Active, ..key.clone() };
        let version = |key: &PublishedKey, tokens: &[(&str, u64)]| {
            State::new(published(&[key]), revoked(tokens)).version().to_owned()
        };
        assert_eq!(version(&key, &[("a", 1)]), version(&key, &[("a", 1)]));
        assert_ne!(version(&key, &[]), version(&active, &[]));
        assert_ne!(version(&key, &[]), version(&key, &[("a", 1)]));
    }

    #[test]
    fn the_step_from_the_state_before_is_what_a_comparison_finds() {
        let (keys, latest) = (published(&[&key(KeyState::Active)]), Latest::default());
        let first = latest.state(Arc::clone(&keys), revoked(&[("a", 1)]));
        let tokens = revoked(&[("a", 1), ("b", 1)]);
        let second = latest.state(Arc::clone(&keys), Arc::clone(&tokens));
        assert_eq!(second.delta(&first), second.compared_to(&first));
        assert!(Arc::ptr_eq(&second, &latest.state(keys, tokens)), "computed twice");
    }
}
