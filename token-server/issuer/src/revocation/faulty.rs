//! Revocations, with a store that fails, hangs or is slow at every await, and one that loses transactions.

use std::{collections::BTreeMap, sync::atomic::AtomicU64, time::SystemTime};

use async_trait::async_trait;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use token_interceptor::test_util::FakeClock;
use tokio::time::{sleep, timeout};

use super::*;
use crate::{
    feed::plain_log::PlainLog,
    store::faults::{FAULTS, Faults},
};

/// Longer than every time limit and every retry.
const LONG: Duration = Duration::from_secs(180);

#[derive(Default)]
struct FaultyRevocations {
    faults: Faults,
    stored: Mutex<BTreeMap<RevocationTarget, Revocation>>,
    log: Arc<PlainLog>,
    purges: AtomicU64,
}

impl FaultyRevocations {
    /// Another process revokes.
    fn put(&self, revocation: &Revocation) {
        self.put_unreported(revocation);
        self.log.report(ChangeKind::Revocation(revocation.target.clone()));
    }

    /// Another process revokes, and the feed never says so.
    fn put_unreported(&self, revocation: &Revocation) {
        self.stored.lock().unwrap().insert(revocation.target.clone(), revocation.clone());
    }

    fn len(&self) -> usize {
        self.stored.lock().unwrap().len()
    }
}

#[async_trait]
impl RevocationStore for FaultyRevocations {
    async fn revoke(&self, revocation: &Revocation, _: Option<&AdminRecord>) -> Result<(), StoreError> {
        self.faults.point().await?;
        self.put(revocation);
        self.faults.point().await
    }

    async fn revocations(&self, _: SystemTime) -> Result<Vec<Revocation>, StoreError> {
        self.faults.point().await?;
        let stored = self.stored.lock().unwrap().values().cloned().collect();
        self.faults.point().await?;
        Ok(stored)
    }

    async fn revocation(&self, target: &RevocationTarget) -> Result<Option<Revocation>, StoreError> {
        self.faults.point().await?;
        let stored = self.stored.lock().unwrap().get(target).cloned();
        self.faults.point().await?;
        Ok(stored)
    }

    async fn purge_revocations(&self, _: SystemTime) -> Result<u64, StoreError> {
        self.faults.point().await?;
        self.purges.fetch_add(1, Ordering::SeqCst);
        self.faults.point().await?;
        Ok(0)
    }

    async fn longest_lifetime(&self, configured: Duration, _: SystemTime) -> Result<Duration, StoreError> {
        self.faults.point().await?;
        Ok(configured)
    }
}

struct Setting {
    store: Arc<FaultyRevocations>,
    clock: Arc<FakeClock>,
    registry: RevocationRegistry,
    _feed: Feed,
}

impl Setting {
    /// A registry that follows the feed and has read everything.
    async fn new() -> Self {
        let (store, clock) = (Arc::new(FaultyRevocations::default()), Arc::new(FakeClock::default()));
        let registry = start(&store, &clock).await.unwrap();
        let feed = store.log.follow().await;
        registry.follow(&feed);
        sleep(Duration::from_secs(1)).await;
        Self { store, clock, registry, _feed: feed }
    }

    fn token(&self, id: &str) -> Revocation {
        token(&self.clock, id)
    }

    fn knows(&self, id: &str) -> bool {
        let part = self.registry.read(Position::default(), usize::MAX);
        part.entries.iter().any(|revoked| revoked.target == TargetHash::of_token(id))
    }
}

async fn start(store: &Arc<FaultyRevocations>, clock: &Arc<FakeClock>) -> Result<RevocationRegistry, StoreError> {
    RevocationRegistry::start(Arc::clone(store) as _, Arc::clone(clock) as Arc<dyn Clock>).await
}

fn token(clock: &FakeClock, id: &str) -> Revocation {
    let now = clock.now();
    let target = RevocationTarget::TokenId(id.to_owned());
    Revocation { target, revoked_before: now, forget_time: now + Duration::from_secs(86_400), issued_to: None }
}

fn recorder() -> (PrometheusRecorder, PrometheusHandle) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    (recorder, handle)
}

fn differences(metrics: &PrometheusHandle) -> Option<String> {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(r#"token_server_store_differences_total{kind="revocation"}"#));
    line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn a_start_fails_or_knows_all_with_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..2 {
            let (store, clock) = (Arc::new(FaultyRevocations::default()), Arc::new(FakeClock::default()));
            store.put(&token(&clock, "a"));
            store.faults.plan(point, fault);
            if let Ok(Ok(registry)) = timeout(LONG, start(&store, &clock)).await {
                assert_eq!(registry.verifying().len(), 1, "{fault:?} at {point}");
            }
            assert!(store.faults.happened());
            assert_eq!(start(&store, &clock).await.unwrap().verifying().len(), 1, "{fault:?} at {point}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reported_revocation_counts_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..2 {
            let setting = Setting::new().await;
            setting.store.faults.plan(point, fault);
            setting.store.put(&setting.token("a"));
            sleep(LONG).await;
            assert!(setting.store.faults.happened(), "{fault:?} at {point}");
            assert!(setting.knows("a"), "{fault:?} at {point}");
            setting.store.put(&setting.token("b"));
            sleep(Duration::from_secs(1)).await;
            assert!(setting.knows("b"), "{fault:?} at {point}: it still follows");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_own_revocation_counts_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..2 {
            let setting = Setting::new().await;
            setting.store.faults.plan(point, fault);
            // The request ends, and with it the call.
            let outcome = timeout(Duration::from_secs(10), setting.registry.revoke(setting.token("a"), None)).await;
            assert!(setting.store.faults.happened());
            let confirmed = matches!(outcome, Ok(Ok(())));
            assert!(!confirmed || setting.knows("a"), "{fault:?} at {point}: confirmed, so it counts at once");
            sleep(LONG).await;
            let stored = setting.store.len() == 1;
            assert_eq!(setting.knows("a"), stored, "{fault:?} at {point}: what is stored counts");
            assert!(!confirmed || stored, "{fault:?} at {point}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_comparison_is_repeated_after_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..4 {
            let setting = Setting::new().await;
            setting.registry.revoke(setting.token("lost"), None).await.unwrap();
            sleep(Duration::from_secs(1)).await;
            setting.store.stored.lock().unwrap().clear();
            setting.store.put_unreported(&setting.token("new"));
            setting.store.faults.plan(point, fault);
            setting.store.log.resync().await;
            sleep(LONG).await;
            assert!(setting.store.faults.happened(), "{fault:?} at {point}");
            assert!(setting.knows("new") && setting.knows("lost"), "{fault:?} at {point}");
            assert_eq!(setting.store.len(), 2, "{fault:?} at {point}: stored again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_holds_up_nothing_with_a_fault_at_any_await() {
    for fault in FAULTS {
        for point in 0..3 {
            let setting = Setting::new().await;
            setting.registry.longest_lifetime(Duration::from_secs(60)).await.unwrap();
            setting.store.faults.plan(point, fault);
            tokio::time::advance(PURGE_INTERVAL).await;
            sleep(LONG).await;
            assert!(setting.store.faults.happened(), "{fault:?} at {point}");
            setting.store.put(&setting.token("a"));
            sleep(Duration::from_secs(2)).await;
            assert!(setting.knows("a"), "{fault:?} at {point}");
            tokio::time::advance(PURGE_INTERVAL).await;
            sleep(LONG).await;
            assert!(setting.store.purges.load(Ordering::SeqCst) >= 1, "{fault:?} at {point}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_difference_from_the_store_is_repaired_and_counted() {
    let (recorder, metrics) = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let setting = Setting::new().await;
    setting.store.put_unreported(&setting.token("a"));
    sleep(Duration::from_secs(5)).await;
    assert!(!setting.knows("a"), "the feed has not reported it");
    setting.store.log.resync().await;
    assert!(setting.knows("a"));
    sleep(LONG).await;
    assert_eq!(differences(&metrics).as_deref(), Some("1"));
    setting.store.log.resync().await;
    sleep(LONG).await;
    assert_eq!(differences(&metrics).as_deref(), Some("1"), "it is counted once");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_feed_reports_is_no_difference() {
    let (recorder, metrics) = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let setting = Setting::new().await;
    // The comparison reads it before the feed delivers it.
    setting.store.put_unreported(&setting.token("a"));
    setting.store.log.lose_connection();
    sleep(Duration::from_secs(2)).await;
    assert!(setting.knows("a"));
    setting.store.put(&setting.token("a"));
    sleep(LONG).await;
    assert_eq!(differences(&metrics), None);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_that_the_store_lost_is_kept_stored_and_counted() {
    let (recorder, metrics) = recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let setting = Setting::new().await;
    setting.registry.revoke(setting.token("a"), None).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    setting.store.stored.lock().unwrap().clear();
    setting.store.log.resync().await;
    assert!(setting.knows("a"));
    assert_eq!(setting.store.len(), 1, "another process that starts now knows it too");
    assert_eq!(differences(&metrics).as_deref(), Some("1"));
    sleep(LONG).await;
    assert_eq!(differences(&metrics).as_deref(), Some("1"));
}

/// Counted in calls of the store and in entries that are read.
#[tokio::test(start_paused = true)]
async fn a_revocation_costs_the_same_at_any_number_of_them() {
    let mut costs = Vec::new();
    for entries in [1_000_u64, 100_000] {
        let setting = Setting::new().await;
        setting.registry.0.add((0..entries).map(|number| setting.token(&number.to_string())));
        let (passed, end) = (setting.store.faults.passed(), *setting.registry.subscribe().borrow());
        setting.registry.revoke(setting.token("one more"), None).await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let read = setting.registry.read(end, usize::MAX).entries.len();
        costs.push((setting.store.faults.passed() - passed, read));
    }
    // Two points to store it, and two to read it when the feed reports it.
    assert_eq!(costs, [(4, 1), (4, 1)]);
}

/// The number of entries to store again is bounded for any number of revocations.
#[test]
fn revocations_that_can_be_stored_again_are_bounded() {
    let clock = FakeClock::default();
    let mut recent = Recent::default();
    for number in 0..100_000 {
        recent.add(token(&clock, &number.to_string()));
    }
    assert_eq!(recent.len(), 10_000);
}
