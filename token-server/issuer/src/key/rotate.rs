//! The rules of key rotation, as pure functions of the stored keys and the time.
//!
//! A key's state is not stored; it follows from the times. Of an algorithm's keys, the one with the latest
//! `sign_after` in the past signs. So all replicas switch keys at the same moment without communicating, and
//! a replica that was suspended has the right key when it resumes.

use std::time::{Duration, SystemTime};

use token_interceptor::signature::{Algorithm, SigningKey};

use super::KeyState;
use crate::store::StoredKey;

/// The periods for which keys are published, sign and are retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The algorithms that sign; the first is the default.
    pub algorithms: Vec<Algorithm>,
    /// The time for which a key signs.
    pub period: Duration,
    /// The time for which a key is published before it signs. Longer than any verifier caches a key set.
    pub visibility: Duration,
    /// The time for which a key is retained after it stops signing: the maximum token lifetime plus clock
    /// skew.
    pub retention: Duration,
}

/// The maximum clock skew. A key created further in the future comes from a wrong clock.
pub(super) const CLOCKS_DIFFER_MAX: Duration = Duration::from_secs(300);

/// One step of a rotation.
///
/// Exhaustive: the rotation must apply a new step before it compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Generates a key that signs from `sign_after` on.
    Generate {
        /// The algorithm.
        algorithm: Algorithm,
        /// The time at which the key starts to sign.
        sign_after: SystemTime,
    },
    /// Promotes an existing key, which then signs from `sign_after` on.
    Promote {
        /// The key.
        key_id: String,
        /// The time at which the key starts to sign.
        sign_after: SystemTime,
    },
    /// Removes a key whose last token has expired.
    Remove {
        /// The key.
        key_id: String,
    },
}

/// The position of a key in the rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its state.
    pub state: KeyState,
    /// The expiry of the key's last token. Known once the key no longer signs.
    pub verify_until: Option<SystemTime>,
}

impl Schedule {
    /// Returns the position of `key` among `keys`.
    #[must_use]
    pub fn place(&self, keys: &[StoredKey], key: &StoredKey, now: SystemTime) -> Place {
        let retiring =
            |stopped: SystemTime| Place { state: KeyState::Retiring, verify_until: Some(stopped + self.retention) };
        if let Some(distrusted) = key.distrust_time {
            return Place { state: KeyState::Distrusted, verify_until: Some(distrusted + self.retention) };
        }
        if now < key.sign_after {
            return Place { state: KeyState::Pending, verify_until: None };
        }
        match successor(keys, key) {
            Some(next) if next.sign_after <= now => retiring(next.sign_after),
            Some(_) | None if self.algorithms.contains(&key.algorithm) => {
                Place { state: KeyState::Active, verify_until: None }
            }
            // The algorithm is no longer configured. The key may have signed until its period ended, as no
            // stop time is stored.
            Some(_) | None => retiring(key.sign_after + self.period),
        }
    }

    /// The key that signs with `algorithm`.
    #[must_use]
    pub fn active<'a>(&self, keys: &'a [StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<&'a StoredKey> {
        keys.iter().find(|key| key.algorithm == algorithm && self.place(keys, key, now).state == KeyState::Active)
    }

    /// Returns the steps that are due at `now`. A completed step is not due again.
    #[must_use]
    pub fn due(&self, keys: &[StoredKey], now: SystemTime) -> Vec<Step> {
        let additions = self.algorithms.iter().filter_map(|algorithm| self.addition(keys, *algorithm, now));
        let removals = keys.iter().filter_map(|key| {
            // An imported key is never removed: the configuration still lists it, and it would be imported
            // again, even if it is distrusted.
            let gone = self.place(keys, key, now).verify_until.is_some_and(|until| until <= now);
            (gone && !key.imported).then(|| Step::Remove { key_id: key.key_id.clone() })
        });
        additions.chain(removals).collect()
    }

    fn addition(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<Step> {
        let next = trusted(keys, algorithm).filter(|key| now < key.sign_after).min_by_key(|key| order(key));
        match (self.active(keys, algorithm, now), next) {
            // A key from a clock that was ahead may not sign for years, so it does not count as a successor.
            (Some(active), _) if pending(keys, algorithm, now).is_none() => {
                let due = active.sign_after + self.period;
                // An imported key signs until the operator imports another.
                (SigningKey::generates(algorithm) && due <= now + self.visibility)
                    .then(|| Step::Generate { algorithm, sign_after: due.max(now + self.visibility) })
            }
            (Some(_), _) => None,
            // No key signs: this is the first start, or the active key was distrusted.
            (None, Some(next)) => Some(Step::Promote { key_id: next.key_id.clone(), sign_after: now }),
            (None, None) => SigningKey::generates(algorithm).then_some(Step::Generate { algorithm, sign_after: now }),
        }
    }

    /// Returns the step that makes the next key of `algorithm` sign as soon as verifiers have had time to
    /// fetch it.
    #[must_use]
    pub fn advance(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Step {
        match pending(keys, algorithm, now) {
            Some(next) => Step::Promote {
                key_id: next.key_id.clone(),
                sign_after: next.sign_after.min((next.create_time + self.visibility).max(now)),
            },
            None => Step::Generate { algorithm, sign_after: now + self.visibility },
        }
    }

    /// Returns the time at which a key imported at `now` starts to sign: immediately if no key is active.
    #[must_use]
    pub fn import_time(&self, keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> SystemTime {
        if self.active(keys, algorithm, now).is_some() { now + self.visibility } else { now }
    }
}

/// The key that replaces `key`.
fn successor<'a>(keys: &'a [StoredKey], key: &StoredKey) -> Option<&'a StoredKey> {
    trusted(keys, key.algorithm).filter(|other| order(other) > order(key)).min_by_key(|other| order(other))
}

/// The next key that has not signed yet, without keys from a clock that was ahead.
fn pending(keys: &[StoredKey], algorithm: Algorithm, now: SystemTime) -> Option<&StoredKey> {
    let made = |key: &&StoredKey| key.create_time <= now + CLOCKS_DIFFER_MAX;
    trusted(keys, algorithm).filter(made).filter(|key| now < key.sign_after).min_by_key(|key| order(key))
}

fn trusted(keys: &[StoredKey], algorithm: Algorithm) -> impl Iterator<Item = &StoredKey> {
    keys.iter().filter(move |key| key.algorithm == algorithm && key.distrust_time.is_none())
}

/// Two keys may start at the same moment. All replicas must still agree on which one signs.
fn order(key: &StoredKey) -> (SystemTime, &str) {
    (key.sign_after, &key.key_id)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::SealedKey;

    const PERIOD: u64 = 1000;
    const VISIBILITY: u64 = 100;
    const RETENTION: u64 = 50;

    fn schedule(algorithms: &[Algorithm]) -> Schedule {
        Schedule {
            algorithms: algorithms.to_vec(),
            period: Duration::from_secs(PERIOD),
            visibility: Duration::from_secs(VISIBILITY),
            retention: Duration::from_secs(RETENTION),
        }
    }

    fn es256() -> Schedule {
        schedule(&[Algorithm::Es256])
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn key(name: &str, sign_after: u64) -> StoredKey {
        StoredKey {
            key_id: name.to_owned(),
            algorithm: Algorithm::Es256,
            create_time: at(0),
            sign_after: at(sign_after),
            distrust_time: None,
            imported: false,
            sealed: SealedKey { sealing_key_id: String::new(), bytes: Vec::new() },
        }
    }

    fn distrusted(key: StoredKey, time: u64) -> StoredKey {
        StoredKey { distrust_time: Some(at(time)), ..key }
    }

    fn rsa(key: StoredKey) -> StoredKey {
        StoredKey { algorithm: Algorithm::Rs256, imported: true, ..key }
    }

    fn generate(sign_after: u64) -> Step {
        Step::Generate { algorithm: Algorithm::Es256, sign_after: at(sign_after) }
    }

    fn promote(name: &str, sign_after: u64) -> Step {
        Step::Promote { key_id: name.to_owned(), sign_after: at(sign_after) }
    }

    fn remove(name: &str) -> Step {
        Step::Remove { key_id: name.to_owned() }
    }

    /// A table of stored keys, the time, and the steps that are due then.
    #[test]
    fn what_is_due_follows_from_keys_and_time() {
        let table: &[(&str, Vec<StoredKey>, u64, Vec<Step>)] = &[
            ("the first start makes a key that signs at once", vec![], 0, vec![generate(0)]),
            ("nothing while the key is young", vec![key("a", 0)], 899, vec![]),
            ("the next is published one visibility period ahead", vec![key("a", 0)], 900, vec![generate(1000)]),
            ("a late look still gives it a visibility period", vec![key("a", 0)], 5000, vec![generate(5100)]),
            ("one successor is enough", vec![key("a", 0), key("b", 1000)], 950, vec![]),
            ("the old one is kept while its tokens live", vec![key("a", 0), key("b", 1000)], 1049, vec![]),
            ("and not longer", vec![key("a", 0), key("b", 1000)], 1050, vec![remove("a")]),
            ("a distrusted key's successor is made at once", vec![distrusted(key("a", 0), 10)], 10, vec![generate(10)]),
            (
                "or promoted, where it is there already",
                vec![distrusted(key("a", 0), 950), key("b", 1000)],
                950,
                vec![promote("b", 950)],
            ),
            (
                "a distrusted key is kept until its tokens have expired",
                vec![distrusted(key("a", 0), 10), key("b", 10)],
                60,
                vec![remove("a")],
            ),
            (
                "a distrusted successor does not count",
                vec![key("a", 0), distrusted(key("b", 1000), 950)],
                960,
                vec![generate(1060)],
            ),
            ("a key of another algorithm does not count", vec![rsa(key("r", 0))], 0, vec![generate(0)]),
        ];
        for (claim, keys, now, due) in table {
            assert_eq!(es256().due(keys, at(*now)), *due, "{claim}");
        }
    }

    #[test]
    fn the_state_follows_from_keys_and_time() {
        let keys = [key("a", 0), key("b", 1000), distrusted(key("c", 500), 600)];
        let states = |now: u64| keys.each_ref().map(|key| es256().place(&keys, key, at(now)).state);
        use KeyState::{Active, Distrusted, Pending, Retiring};
        assert_eq!(states(0), [Active, Pending, Distrusted]);
        assert_eq!(states(999), [Active, Pending, Distrusted]);
        assert_eq!(states(1000), [Retiring, Active, Distrusted]);
        let place = es256().place(&keys, &keys[0], at(1000));
        assert_eq!(place.verify_until, Some(at(1000 + RETENTION)));
    }

    #[cfg(not(feature = "rsa-generation"))]
    #[test]
    fn keys_that_cannot_be_made_here_are_neither_made_nor_removed() {
        let rs256 = schedule(&[Algorithm::Rs256]);
        assert_eq!(rs256.due(&[], at(0)), []);
        assert_eq!(rs256.due(&[rsa(key("a", 0))], at(9999)), []);
        assert_eq!(rs256.due(&[rsa(key("a", 0)), rsa(key("b", 10))], at(9999)), []);
        assert_eq!(rs256.import_time(&[], Algorithm::Rs256, at(5)), at(5));
        assert_eq!(rs256.import_time(&[rsa(key("a", 0))], Algorithm::Rs256, at(5)), at(5 + VISIBILITY));
    }

    #[test]
    fn an_imported_key_of_any_algorithm_is_never_removed() {
        let imported = |name, sign_after| StoredKey { imported: true, ..key(name, sign_after) };
        let keys = [imported("a", 0), imported("b", 10), distrusted(imported("c", 20), 30)];
        let due = es256().due(&keys, at(500));
        assert_eq!(due, [], "{due:?}");
    }

    #[test]
    fn a_key_whose_algorithm_is_no_longer_configured_retires() {
        let keys = [rsa(key("r", 0)), key("a", 0)];
        assert_eq!(es256().place(&keys, &keys[0], at(10)).state, KeyState::Retiring);
        assert_eq!(es256().active(&keys, Algorithm::Rs256, at(10)), None);
        let ed = StoredKey { algorithm: Algorithm::EdDsa, ..key("e", 0) };
        assert_eq!(es256().due(&[key("a", 0), ed.clone()], at(PERIOD + RETENTION - 200)), []);
        let due = es256().due(&[key("a", 0), key("b", 900), ed], at(PERIOD + RETENTION));
        assert!(due.contains(&remove("e")), "{due:?}");
    }

    #[test]
    fn advancing_publishes_one_key_however_often_it_is_asked() {
        let mut keys = vec![key("a", 0)];
        assert_eq!(es256().advance(&keys, Algorithm::Es256, at(10)), generate(10 + VISIBILITY));
        keys.push(StoredKey { create_time: at(10), ..key("b", 10 + VISIBILITY) });
        assert_eq!(es256().advance(&keys, Algorithm::Es256, at(20)), promote("b", 10 + VISIBILITY));
    }

    #[test]
    fn advancing_never_skips_the_visibility_period() {
        let next = StoredKey { create_time: at(40), ..key("b", 1000) };
        let keys = [key("a", 0), next];
        assert_eq!(es256().advance(&keys, Algorithm::Es256, at(60)), promote("b", 40 + VISIBILITY));
        assert_eq!(es256().advance(&keys, Algorithm::Es256, at(500)), promote("b", 500));
    }

    /// S19: a replica whose clock was a year ahead has stored a key with that creation time.
    #[test]
    fn a_key_made_in_the_future_does_not_stop_rotation() {
        let year = 365 * 24 * 3600;
        let future = StoredKey { create_time: at(year), ..key("f", year + VISIBILITY) };
        let keys = [key("a", 0), future.clone()];
        assert_eq!(es256().due(&keys, at(899)), []);
        assert_eq!(es256().due(&keys, at(900)), [generate(1000)]);
        assert_eq!(es256().advance(&keys, Algorithm::Es256, at(10)), generate(10 + VISIBILITY));
        let next = StoredKey { create_time: at(900), ..key("b", 1000) };
        let keys = [key("a", 0), next, future.clone()];
        assert_eq!(es256().due(&keys, at(950)), [], "one successor is enough");
        assert_eq!(es256().active(&keys, Algorithm::Es256, at(1000)).unwrap().key_id, "b");
        assert_eq!(es256().due(&[future], at(10)), [promote("f", 10)], "better than none");
    }

    /// A clock skew of minutes does not cause a second successor.
    #[test]
    fn a_key_made_by_a_clock_slightly_ahead_counts() {
        let next = StoredKey { create_time: at(930) + CLOCKS_DIFFER_MAX, ..key("b", 2000) };
        assert_eq!(es256().due(&[key("a", 0), next], at(930)), []);
    }

    #[test]
    fn keys_that_begin_at_the_same_moment_are_ranked_alike_everywhere() {
        let (a, b) = (key("a", 0), key("b", 0));
        for keys in [[a.clone(), b.clone()], [b, a]] {
            let active = es256().active(&keys, Algorithm::Es256, at(10)).unwrap();
            assert_eq!(active.key_id, "b");
        }
    }

    /// Runs a rotation in the given time steps, as the server does.
    fn run(steps: &[u64]) -> Vec<(SystemTime, Vec<StoredKey>)> {
        let (mut keys, mut now, mut made) = (Vec::new(), 0, 0);
        let mut history = Vec::new();
        for step in steps {
            now += step;
            for step in es256().due(&keys, at(now)) {
                match step {
                    Step::Generate { sign_after, .. } => {
                        made += 1;
                        let name = format!("{made:04}");
                        keys.push(StoredKey { create_time: at(now), sign_after, ..key(&name, 0) });
                    }
                    Step::Promote { key_id, sign_after } => {
                        keys.iter_mut().filter(|key| key.key_id == key_id).for_each(|key| key.sign_after = sign_after);
                    }
                    Step::Remove { key_id } => keys.retain(|key| key.key_id != key_id),
                }
            }
            history.push((at(now), keys.clone()));
        }
        history
    }

    proptest! {
        /// Holds for irregular intervals between the server's checks.
        #[test]
        fn there_is_always_one_active_key_published_long_enough(steps in prop::collection::vec(0..700u64, 1..60)) {
            let mut first = None;
            for (now, keys) in run(&steps) {
                let places = keys.iter().map(|key| (key, es256().place(&keys, key, now)));
                let active: Vec<_> = places.filter(|(_, place)| place.state == KeyState::Active).collect();
                prop_assert_eq!(active.len(), 1);
                let key = active[0].0;
                let first = first.get_or_insert_with(|| key.key_id.clone());
                if key.key_id != *first {
                    prop_assert!(key.sign_after >= key.create_time + Duration::from_secs(VISIBILITY));
                }
                prop_assert!(keys.len() <= 3);
            }
        }

        /// A token signed at one step still finds its key at every later step of its lifetime.
        #[test]
        fn a_key_outlives_its_tokens(steps in prop::collection::vec(0..700u64, 1..60)) {
            let history = run(&steps);
            for (place, (signed, keys)) in history.iter().enumerate() {
                let Some(signer) = es256().active(keys, Algorithm::Es256, *signed) else { continue };
                let lifetime = Duration::from_secs(RETENTION);
                for (_, later) in history[place..].iter().take_while(|(now, _)| *now < *signed + lifetime) {
                    prop_assert!(later.iter().any(|key| key.key_id == signer.key_id));
                }
            }
        }

        #[test]
        fn what_is_due_is_due_once(steps in prop::collection::vec(0..700u64, 1..60)) {
            for (now, keys) in run(&steps) {
                prop_assert_eq!(es256().due(&keys, now), vec![]);
            }
        }
    }
}
