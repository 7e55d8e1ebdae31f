use std::{sync::Mutex as StdMutex, time::SystemTime};

use token_interceptor::signature::SigningKey;

use super::*;
use crate::{
    feed::FeedSettings,
    key_material::KeyMaterial,
    store::{AdminRecordFilter, Store, StoreError},
    test_util::MemoryStore,
};

const VISIBILITY: Duration = Duration::from_secs(100);

#[derive(Debug)]
struct TestClock(StdMutex<SystemTime>);

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(StdMutex::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000))))
    }

    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for TestClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

struct Setting {
    store: Arc<dyn Store>,
    clock: Arc<TestClock>,
    sealing: SealingKeys,
    settings: KeySettings,
}

impl Setting {
    async fn new(algorithms: &[Algorithm]) -> Self {
        let schedule = Schedule {
            algorithms: algorithms.to_vec(),
            period: Duration::from_secs(1000),
            visibility: VISIBILITY,
            retention: Duration::from_secs(50),
        };
        Self {
            store: Arc::new(MemoryStore::new()),
            clock: TestClock::new(),
            sealing: SealingKeys::new(KeyMaterial::from_bytes([1; 32]), vec![]),
            settings: KeySettings { schedule, imported: vec![], lifetimes: None },
        }
    }

    async fn start(&self) -> Result<KeyRotation, SigningKeyError> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let store = Arc::clone(&self.store) as Arc<dyn KeyStore>;
        KeyRotation::start(store, self.sealing.clone(), self.settings.clone(), clock).await
    }
}

fn active(rotation: &KeyRotation) -> String {
    rotation.ring().default_signer().key_id().to_owned()
}

fn states(rotation: &KeyRotation) -> Vec<KeyState> {
    rotation.ring().published().keys.iter().map(|key| key.state).collect()
}

fn imported(algorithm: Algorithm) -> ImportedKey {
    ImportedKey { algorithm, der: SigningKey::generate_pkcs8(algorithm).unwrap() }
}

fn record() -> AdminRecord {
    AdminRecord {
        time: SystemTime::UNIX_EPOCH,
        actor: "admin".to_owned(),
        action: "DistrustSigningKey".to_owned(),
        resource: String::new(),
        request_id: None,
        detail: String::new(),
        subject: None,
        act: None,
        revokes: None,
    }
}

#[tokio::test]
async fn a_second_start_finds_the_keys_of_the_first() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let first = setting.start().await.unwrap();
    let version = setting.store.keys().await.unwrap().version;
    let second = setting.start().await.unwrap();
    assert_eq!(active(&first), active(&second));
    assert_eq!(setting.store.keys().await.unwrap().version, version, "nothing to write");
}

#[tokio::test]
async fn the_first_algorithm_is_the_default_and_each_has_its_key() {
    let setting = Setting::new(&[Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384]).await;
    let rotation = setting.start().await.unwrap();
    assert_eq!(rotation.ring().default_signer().algorithm(), Algorithm::EdDsa);
    for algorithm in [Algorithm::EdDsa, Algorithm::Es256, Algorithm::Es384] {
        assert_eq!(rotation.ring().signer(algorithm).unwrap().algorithm(), algorithm);
    }
    assert!(rotation.ring().signer(Algorithm::Rs256).is_none());
    assert_eq!(rotation.ring().published().keys[0].algorithm, Algorithm::EdDsa);
}

#[tokio::test]
async fn a_key_is_published_ahead_signs_retires_and_goes() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let first = active(&rotation);
    setting.clock.advance(Duration::from_secs(900));
    rotation.refresh().await.unwrap();
    assert_eq!(states(&rotation), [KeyState::Active, KeyState::Pending]);
    assert_eq!(active(&rotation), first);
    setting.clock.advance(VISIBILITY);
    rotation.refresh().await.unwrap();
    assert_eq!(states(&rotation), [KeyState::Retiring, KeyState::Active]);
    assert_ne!(active(&rotation), first);
    setting.clock.advance(Duration::from_secs(50));
    rotation.refresh().await.unwrap();
    assert_eq!(states(&rotation), [KeyState::Active]);
}

#[tokio::test]
async fn followers_hear_of_a_change_and_of_nothing_else() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let mut published = rotation.ring().subscribe();
    rotation.refresh().await.unwrap();
    assert!(!published.has_changed().unwrap());
    rotation.rotate(None, None).await.unwrap();
    assert!(published.has_changed().unwrap());
    assert_eq!(published.borrow_and_update().keys.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_replicas_rotate_once() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let mut replicas = Vec::new();
    for _ in 0..4 {
        replicas.push(setting.start().await.unwrap());
    }
    setting.clock.advance(Duration::from_secs(900));
    let refreshes: Vec<_> =
        replicas.iter().cloned().map(|replica| tokio::spawn(async move { replica.refresh().await })).collect();
    for refresh in refreshes {
        refresh.await.unwrap().unwrap();
    }
    assert_eq!(setting.store.keys().await.unwrap().keys.len(), 2);
    let pending = |replica: &KeyRotation| replica.ring().published().keys[1].jwk.key_id().to_owned();
    assert!(replicas.iter().all(|replica| pending(replica) == pending(&replicas[0])));
}

#[tokio::test]
async fn record_of_a_rotation_by_hand_names_the_key() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let asked = AdminRecord { action: "RotateSigningKey".to_owned(), resource: "ES256".to_owned(), ..record() };
    let next = rotation.rotate(Some(Algorithm::Es256), Some(&asked)).await.unwrap();
    let (_, stored) = setting.store.admin_records(&AdminRecordFilter::default(), None, 1).await.unwrap().remove(0);
    assert_eq!((stored.actor.as_str(), stored.resource), ("admin", next.jwk.key_id().to_owned()));
    assert!(stored.detail.contains(next.jwk.key_id()), "{}", stored.detail);
}

#[tokio::test]
async fn rotating_by_hand_publishes_a_key_and_answers_twice_with_the_same() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let next = rotation.rotate(Some(Algorithm::Es256), None).await.unwrap();
    assert_eq!(next.state, KeyState::Pending);
    assert_eq!(next.sign_after, setting.clock.now() + VISIBILITY);
    assert_eq!(rotation.rotate(None, None).await.unwrap(), next);
    let error = rotation.rotate(Some(Algorithm::EdDsa), None).await.unwrap_err();
    assert!(matches!(error, SigningKeyError::AlgorithmNotConfigured), "{error:?}");
}

#[tokio::test]
async fn a_distrusted_key_signs_no_more_from_that_moment() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let compromised = active(&rotation);
    rotation.distrust(&compromised, Some(&record())).await.unwrap();
    assert_ne!(active(&rotation), compromised);
    let published = rotation.ring().published();
    let state = |key_id: &str| published.keys.iter().find(|key| key.jwk.key_id() == key_id).unwrap().state;
    assert_eq!(state(&compromised), KeyState::Distrusted);
    assert!(!String::from_utf8(published.jwks_json.to_vec()).unwrap().contains(&compromised));
    assert_eq!(setting.store.admin_records(&AdminRecordFilter::default(), None, 1).await.unwrap()[0].1.actor, "admin");
    assert!(matches!(rotation.distrust("unknown", None).await.unwrap_err(), SigningKeyError::NotFound));
}

#[tokio::test]
async fn an_automatic_rotation_is_in_the_admin_audit() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let (_, record) = setting.store.admin_records(&AdminRecordFilter::default(), None, 1).await.unwrap().remove(0);
    assert_eq!((record.actor.as_str(), record.resource), ("token-server", active(&rotation)));
}

#[tokio::test]
async fn imported_keys_follow_one_another_in_the_order_of_the_list() {
    // Any algorithm can be imported; RSA keys can only be imported, but take seconds to generate.
    let mut setting = Setting::new(&[Algorithm::Es256]).await;
    setting.settings.imported = vec![imported(Algorithm::Es256), imported(Algorithm::Es256)];
    let rotation = setting.start().await.unwrap();
    assert_eq!(states(&rotation), [KeyState::Active, KeyState::Pending]);
    let ids: Vec<_> = rotation.ring().published().keys.iter().map(|key| key.jwk.key_id().to_owned()).collect();
    let expected = setting
        .settings
        .imported
        .iter()
        .map(|key| SigningKey::from_der(key.algorithm, &key.der).unwrap().public_jwk().key_id().to_owned());
    assert_eq!(ids, expected.collect::<Vec<_>>());
    assert_eq!(setting.start().await.unwrap().ring().published().keys.len(), 2, "imported once");
}

/// It is still listed in the configuration when the server starts again.
#[tokio::test]
async fn an_imported_key_that_was_distrusted_never_comes_back() {
    let mut setting = Setting::new(&[Algorithm::Es256]).await;
    setting.settings.imported = vec![imported(Algorithm::Es256)];
    let rotation = setting.start().await.unwrap();
    let compromised = active(&rotation);
    rotation.distrust(&compromised, None).await.unwrap();
    setting.clock.advance(Duration::from_secs(500));
    let again = setting.start().await.unwrap();
    assert_ne!(active(&again), compromised);
    assert!(again.ring().published().keys.iter().all(|key| key.jwk.key_id() != compromised));
}

#[tokio::test]
async fn keys_are_sealed_again_under_a_new_sealing_key() {
    let mut setting = Setting::new(&[Algorithm::Es256]).await;
    let key_id = active(&setting.start().await.unwrap());
    let (old, new) = (KeyMaterial::from_bytes([1; 32]), KeyMaterial::from_bytes([2; 32]));
    setting.sealing = SealingKeys::new(new.clone(), vec![old]);
    assert_eq!(active(&setting.start().await.unwrap()), key_id);
    setting.sealing = SealingKeys::new(new, vec![]);
    assert_eq!(active(&setting.start().await.unwrap()), key_id);
}

/// During a change of the sealing key some replicas seal under the new one and others still under the old.
#[tokio::test]
async fn replicas_that_differ_in_the_sealing_key_do_not_undo_each_others_work() {
    let mut setting = Setting::new(&[Algorithm::Es256]).await;
    let (old, new) = (KeyMaterial::from_bytes([1; 32]), KeyMaterial::from_bytes([2; 32]));
    setting.sealing = SealingKeys::new(old.clone(), vec![new.clone()]);
    let behind = setting.start().await.unwrap();
    setting.sealing = SealingKeys::new(new.clone(), vec![old]);
    let ahead = setting.start().await.unwrap();
    let table = setting.store.keys().await.unwrap();
    assert!(table.keys.iter().all(|key| key.sealed.sealing_key_id == new.id()), "sealed anew at the start");
    for replica in [&behind, &ahead, &behind] {
        replica.refresh().await.unwrap();
    }
    assert_eq!(setting.store.keys().await.unwrap(), table);
}

#[tokio::test]
async fn without_the_sealing_key_nothing_starts_and_nothing_is_overwritten() {
    let mut setting = Setting::new(&[Algorithm::Es256]).await;
    setting.start().await.unwrap();
    let before = setting.store.keys().await.unwrap();
    setting.sealing = SealingKeys::new(KeyMaterial::from_bytes([2; 32]), vec![]);
    let error = setting.start().await.unwrap_err();
    assert!(matches!(error, SigningKeyError::SealingKeyUnknown { .. }), "{error:?}");
    assert_eq!(setting.store.keys().await.unwrap(), before);
}

/// An attacker who can write to the store must not be able to get a key published.
#[tokio::test]
async fn a_key_that_was_moved_in_the_store_does_not_open() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    setting.start().await.unwrap();
    let mut table = setting.store.keys().await.unwrap();
    table.keys[0].key_id = "chosen-by-an-attacker".to_owned();
    setting.store.replace_keys(&table, None).await.unwrap();
    assert!(matches!(setting.start().await.unwrap_err(), SigningKeyError::SealBroken { .. }));
}

#[tokio::test]
async fn a_failed_refresh_leaves_the_ring_as_it_is() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let rotation = setting.start().await.unwrap();
    let key_id = active(&rotation);
    let mut table = setting.store.keys().await.unwrap();
    table.keys[0].algorithm = Algorithm::EdDsa;
    setting.store.replace_keys(&table, None).await.unwrap();
    assert!(rotation.refresh().await.is_err());
    assert_eq!(active(&rotation), key_id);
    setting.store.close().await;
    let error = rotation.refresh().await.unwrap_err();
    assert!(matches!(error, SigningKeyError::Store(StoreError::Unavailable(_))), "{error:?}");
    assert_eq!(active(&rotation), key_id);
}

#[tokio::test]
async fn a_change_by_another_replica_is_taken_over_through_the_feed() {
    let setting = Setting::new(&[Algorithm::Es256]).await;
    let (one, other) = (setting.start().await.unwrap(), setting.start().await.unwrap());
    let feed = Feed::start(Arc::clone(&setting.store) as _, FeedSettings::default()).await.unwrap();
    other.follow(&feed);
    let mut published = other.ring().subscribe();
    let next = one.rotate(None, None).await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), published.changed()).await.expect("heard of it").unwrap();
    assert_eq!(published.borrow().keys[1], next);
}
