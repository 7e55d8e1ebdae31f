//! Tests rotation with a store that fails, hangs or is slow at every await, and with clocks that differ.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use metrics_exporter_prometheus::PrometheusBuilder;
use token_interceptor::{clock::Clock, test_util::FakeClock, verify::LEEWAY_MAX};
use tokio::time::timeout;

use super::*;
use crate::{
    feed::plain_log::PlainLog,
    key_material::KeyMaterial,
    store::{
        KeyTable, StoreError,
        faults::{FAULTS, Faults},
    },
};

const PERIOD: Duration = Duration::from_secs(1000);
const VISIBILITY: Duration = Duration::from_secs(100);
const RETENTION: Duration = Duration::from_secs(50);

#[derive(Default)]
struct FaultyKeys {
    faults: Faults,
    table: Mutex<KeyTable>,
    /// The store's own clock.
    time: Mutex<Option<SystemTime>>,
}

#[async_trait]
impl KeyStore for FaultyKeys {
    async fn keys(&self) -> Result<KeyTable, StoreError> {
        self.faults.point().await?;
        let table = self.table.lock().unwrap().clone();
        self.faults.point().await?;
        Ok(table)
    }

    async fn replace_keys(&self, table: &KeyTable, _: Option<&AdminRecord>) -> Result<u64, StoreError> {
        self.faults.point().await?;
        let version = {
            let mut stored = self.table.lock().unwrap();
            if stored.version != table.version {
                return Err(StoreError::RevisionMismatch);
            }
            *stored = KeyTable { version: table.version + 1, keys: table.keys.clone() };
            stored.version
        };
        self.faults.point().await?;
        Ok(version)
    }

    async fn time(&self) -> Result<Option<SystemTime>, StoreError> {
        self.faults.point().await?;
        Ok(*self.time.lock().unwrap())
    }
}

/// The longest lifetime of a token; `None`: it cannot be read.
#[derive(Debug, Default)]
struct Lifetimes(Mutex<Option<Duration>>);

#[async_trait]
impl TokenLifetimes for Lifetimes {
    async fn longest(&self) -> Result<Duration, StoreError> {
        self.0.lock().unwrap().ok_or(StoreError::unavailable("pulled the plug"))
    }
}

async fn start(store: &Arc<FaultyKeys>, clock: &Arc<FakeClock>) -> Result<KeyRotation, SigningKeyError> {
    start_with(store, clock, None).await
}

async fn start_with(
    store: &Arc<FaultyKeys>,
    clock: &Arc<FakeClock>,
    lifetimes: Option<Arc<dyn TokenLifetimes>>,
) -> Result<KeyRotation, SigningKeyError> {
    let schedule =
        Schedule { algorithms: vec![Algorithm::Es256], period: PERIOD, visibility: VISIBILITY, retention: RETENTION };
    let settings = KeySettings { schedule, imported: Vec::new(), lifetimes };
    let sealing = SealingKeys::new(KeyMaterial::from_bytes([1; 32]), Vec::new());
    KeyRotation::start(Arc::clone(store) as _, sealing, settings, Arc::clone(clock) as Arc<dyn Clock>).await
}

fn key_ids(rotation: &KeyRotation) -> Vec<String> {
    rotation.ring().published().keys.iter().map(|key| key.jwk.key_id().to_owned()).collect()
}

fn stored(store: &FaultyKeys) -> Vec<String> {
    store.table.lock().unwrap().keys.iter().map(|key| key.key_id.clone()).collect()
}

/// After any fault, the next check reads the store as it is, and generates no second successor.
#[tokio::test(start_paused = true)]
async fn a_rotation_heals_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..5 {
            let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
            let rotation = start(&store, &clock).await.unwrap();
            let before = key_ids(&rotation);
            clock.advance(PERIOD - VISIBILITY);
            store.faults.plan(point, fault);
            // The caller gives up, which cancels the refresh.
            let _ = timeout(Duration::from_secs(10), rotation.refresh()).await;
            assert!(store.faults.happened(), "{fault:?} at {point}");
            assert!(key_ids(&rotation).starts_with(&before), "{fault:?} at {point}: the ring never goes back");
            rotation.refresh().await.unwrap();
            assert_eq!(key_ids(&rotation).len(), 2, "{fault:?} at {point}: one successor");
            let (mut here, there) = (key_ids(&rotation), stored(&store));
            here.sort();
            assert_eq!(here, there, "{fault:?} at {point}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_can_be_repeated_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..5 {
            let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
            store.faults.plan(point, fault);
            let _ = timeout(Duration::from_secs(10), start(&store, &clock)).await;
            let rotation = start(&store, &clock).await.unwrap();
            assert_eq!(key_ids(&rotation), stored(&store), "{fault:?} at {point}");
            assert_eq!(stored(&store).len(), 1, "{fault:?} at {point}: one key");
        }
    }
}

/// S11: another replica starts later, with longer lifetimes.
#[tokio::test]
async fn a_key_is_kept_for_lifetimes_that_were_raised_later() {
    const LONGER: Duration = Duration::from_secs(1_000_000);
    let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
    let lifetimes = Arc::new(Lifetimes(Mutex::new(Some(Duration::ZERO))));
    let rotation = start_with(&store, &clock, Some(Arc::clone(&lifetimes) as _)).await.unwrap();
    let first = key_ids(&rotation).remove(0);
    clock.advance(PERIOD - VISIBILITY);
    rotation.refresh().await.unwrap();
    clock.advance(VISIBILITY);
    *lifetimes.0.lock().unwrap() = Some(LONGER);
    for wait in [LEEWAY_MAX.max(RETENTION), LONGER - Duration::from_secs(1)] {
        clock.advance(wait);
        rotation.refresh().await.unwrap();
        assert!(key_ids(&rotation).contains(&first), "after {wait:?}");
    }
    *lifetimes.0.lock().unwrap() = None;
    clock.advance(Duration::from_secs(2));
    rotation.refresh().await.unwrap();
    assert!(stored(&store).contains(&first), "it is not known how long tokens live");
    *lifetimes.0.lock().unwrap() = Some(LONGER);
    rotation.refresh().await.unwrap();
    assert!(!stored(&store).contains(&first));
}

/// A store that hangs must not end the rotation.
#[tokio::test(start_paused = true)]
async fn a_follower_goes_on_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..5 {
            let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
            let rotation = start(&store, &clock).await.unwrap();
            let log = Arc::new(PlainLog::default());
            let feed = log.follow().await;
            rotation.follow(&feed);
            sleep(Duration::from_secs(2)).await;
            clock.advance(PERIOD - VISIBILITY);
            store.faults.plan(point, fault);
            log.report(ChangeKind::Keys);
            sleep(Duration::from_secs(120)).await;
            assert!(store.faults.happened(), "{fault:?} at {point}");
            assert_eq!(key_ids(&rotation).len(), 2, "{fault:?} at {point}");
            assert_eq!(stored(&store).len(), 2, "{fault:?} at {point}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_changed_without_a_report_are_counted_once() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let _guard = ::metrics::set_default_local_recorder(&recorder);
    let counted = || metrics.render().contains(r#"token_server_store_differences_total{kind="keys"} 1"#);
    let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
    let (one, other) = (start(&store, &clock).await.unwrap(), start(&store, &clock).await.unwrap());
    let log = Arc::new(PlainLog::default());
    let feed = log.follow().await;
    one.follow(&feed);
    let first = key_ids(&one).remove(0);
    sleep(Duration::from_secs(5)).await;

    other.rotate(None, None).await.unwrap();
    log.report(ChangeKind::Keys);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(key_ids(&one).len(), 2);
    assert!(!counted(), "the feed reported it");

    store.table.lock().unwrap().keys.retain(|key| key.key_id == first);
    sleep(Duration::from_secs(120)).await;
    assert_eq!(key_ids(&one).len(), 1, "repaired");
    assert!(counted(), "{}", metrics.render());
}

/// S19: the clock of one of two replicas is a year ahead.
#[tokio::test]
async fn a_replica_with_a_clock_ahead_changes_no_key_of_others() {
    let (store, clock, ahead) =
        (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()), Arc::new(FakeClock::default()));
    let tell = |now| *store.time.lock().unwrap() = Some(now);
    tell(clock.now());
    let (one, other) = (start(&store, &clock).await.unwrap(), start(&store, &ahead).await.unwrap());
    ahead.advance(Duration::from_secs(365 * 24 * 3600));
    let first = key_ids(&one);
    for _ in 0..3 {
        other.refresh().await.unwrap();
        assert_eq!(stored(&store), first, "nothing is due by the store's clock");
    }
    clock.advance(PERIOD - VISIBILITY);
    tell(clock.now());
    other.refresh().await.unwrap();
    one.refresh().await.unwrap();
    assert_eq!(stored(&store).len(), 2, "what is due is done, once");
    clock.advance(VISIBILITY + RETENTION);
    tell(clock.now());
    other.refresh().await.unwrap();
    assert_eq!(stored(&store).len(), 2, "its clock is wrong: it removes nothing");
    one.refresh().await.unwrap();
    assert_eq!(stored(&store).len(), 1);
    assert_ne!(stored(&store), first);
}

/// The clock of the database host jumps ahead, then returns.
#[tokio::test]
async fn a_store_with_a_clock_ahead_for_a_while_costs_no_key() {
    let (store, clock) = (Arc::new(FaultyKeys::default()), Arc::new(FakeClock::default()));
    *store.time.lock().unwrap() = Some(clock.now());
    let rotation = start(&store, &clock).await.unwrap();
    let first = key_ids(&rotation);
    *store.time.lock().unwrap() = Some(clock.now() + Duration::from_secs(365 * 24 * 3600));
    rotation.refresh().await.unwrap();
    assert!(stored(&store).contains(&first[0]));
    clock.advance(PERIOD - VISIBILITY);
    *store.time.lock().unwrap() = Some(clock.now());
    rotation.refresh().await.unwrap();
    let due = clock.now() + VISIBILITY;
    let published = rotation.ring().published();
    assert!(published.keys.iter().any(|key| key.sign_after == due), "the rotation goes on");
    assert_eq!(rotation.ring().default_signer().key_id(), first[0]);
}
