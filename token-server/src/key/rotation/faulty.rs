//! Tests rotation with a store that fails, hangs or is slow at every await, and with clocks that differ.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use token_interceptor::{clock::Clock, test_util::FakeClock};
use tokio::time::timeout;

use super::*;
use crate::{
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

async fn start(store: &Arc<FaultyKeys>, clock: &Arc<FakeClock>) -> Result<KeyRotation, KeyError> {
    let schedule =
        Schedule { algorithms: vec![Algorithm::Es256], period: PERIOD, visibility: VISIBILITY, retention: RETENTION };
    let settings = KeySettings { schedule, imported: Vec::new() };
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
