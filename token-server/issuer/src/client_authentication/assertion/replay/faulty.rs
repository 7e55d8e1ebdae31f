//! Used assertions, with a store that fails, hangs or is busy at every await.

use std::{collections::BTreeSet, sync::Mutex, time::Duration};

use async_trait::async_trait;

use super::*;
use crate::store::faults::{FAULTS, Fault, Faults};

#[derive(Debug, Default)]
struct FaultyAssertions {
    faults: Faults,
    used: Mutex<BTreeSet<[u8; 32]>>,
    busy: Mutex<bool>,
}

#[async_trait]
impl AssertionStore for FaultyAssertions {
    async fn use_assertion(&self, hash: &[u8; 32], _: SystemTime) -> Result<bool, StoreError> {
        if *self.busy.lock().unwrap() {
            return Err(StoreError::Busy);
        }
        self.faults.point().await?;
        let first = self.used.lock().unwrap().insert(*hash);
        self.faults.point().await?;
        Ok(first)
    }

    async fn purge_assertions(&self, _: SystemTime) -> Result<u64, StoreError> {
        self.faults.point().await?;
        Ok(0)
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn no_replica_takes_one_twice_with_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..3 {
            let store = Arc::new(FaultyAssertions::default());
            let (one, other) = (Replays::new(Arc::clone(&store) as _), Replays::new(Arc::clone(&store) as _));
            store.faults.plan(point, fault);
            assert!(one.use_once("a", "1", at(100), at(0)).await.is_ok(), "{fault:?} at {point}");
            assert!(one.use_once("a", "1", at(100), at(0)).await.is_err(), "{fault:?} at {point}");
            // The store has the entry unless it was never reached. ADR 14 accepts a replay in that outage.
            let reached = point > 0 || matches!(fault, Fault::Delay(_));
            if reached && store.used.lock().unwrap().len() == 1 {
                assert!(other.use_once("a", "1", at(100), at(0)).await.is_err(), "{fault:?} at {point}");
            }
            assert!(store.faults.happened());
        }
    }
}

/// The caller is gone, but the assertion it presented is used up.
#[tokio::test(start_paused = true)]
async fn an_assertion_of_a_cancelled_request_is_used_up() {
    for point in 0..2 {
        let store = Arc::new(FaultyAssertions::default());
        let replays = Replays::new(Arc::clone(&store) as _);
        store.faults.plan(point, Fault::Hang);
        let cancelled = timeout(Duration::from_millis(10), replays.use_once("a", "1", at(100), at(0))).await;
        assert!(cancelled.is_err());
        assert!(replays.use_once("a", "1", at(100), at(0)).await.is_err(), "at {point}");
    }
}

/// S4: a full pool is not an outage, because strangers can fill it.
#[tokio::test(start_paused = true)]
async fn a_busy_store_refuses_and_memory_does_not_decide() {
    let store = Arc::new(FaultyAssertions::default());
    let replays = Replays::new(Arc::clone(&store) as _);
    *store.busy.lock().unwrap() = true;
    for _ in 0..3 {
        let refused = replays.use_once("a", "1", at(100), at(0)).await;
        assert!(matches!(refused, Err(IssueError::Unavailable(_))), "{refused:?}");
    }
    *store.busy.lock().unwrap() = false;
    assert!(replays.use_once("a", "1", at(100), at(0)).await.is_ok(), "it was not used, and may be tried again");
    assert!(replays.use_once("a", "1", at(100), at(0)).await.is_err());
}
