use std::sync::{Mutex, atomic::AtomicUsize};

use async_trait::async_trait;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::sync::Notify;

use token_interceptor::clock::SystemClock;

use super::*;
use crate::{
    admin::{AdminRules, ClientAdmin},
    client::secret::{Pepper, Peppers},
    feed::FeedSettings,
    key_material::KeyMaterial,
    store::{AdminRecord, ChangeLog, CredentialUse, PATIENCE},
    test_util::MemoryStore,
};

/// A store that counts its reads, and that waits or fails on demand.
struct Instrumented {
    inner: MemoryStore,
    reads: AtomicUsize,
    /// While closed, a finished read waits until it is opened.
    gate: Mutex<Option<Arc<Notify>>>,
    arrived: Notify,
    broken: AtomicBool,
    uses: Mutex<Vec<CredentialUse>>,
    /// Disabled in the store without a change in the log, as after a failover that lost the log's end.
    altered: Mutex<Vec<ClientId>>,
    /// Rows that cannot be read.
    damaged: Mutex<Vec<ClientId>>,
}

impl Instrumented {
    async fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            reads: AtomicUsize::new(0),
            gate: Mutex::new(None),
            arrived: Notify::new(),
            broken: AtomicBool::new(false),
            uses: Mutex::new(Vec::new()),
            altered: Mutex::default(),
            damaged: Mutex::default(),
        })
    }

    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    fn close_gate(&self) -> Arc<Notify> {
        let gate = Arc::new(Notify::new());
        *self.gate.lock().unwrap() = Some(Arc::clone(&gate));
        gate
    }

    fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    async fn add(&self, name: &str) -> Client {
        self.inner.create_client(&Client::new(id(name), SystemTime::UNIX_EPOCH), None).await.unwrap()
    }
}

#[async_trait]
impl ClientStore for Instrumented {
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, StoreError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if id.as_str().starts_with("slow-") {
            std::future::pending::<()>().await;
        }
        let broken = self.broken.load(Ordering::SeqCst);
        let mut read = match broken {
            true => Err(StoreError::unavailable("pulled the plug")),
            false if self.damaged.lock().unwrap().contains(id) => Err(StoreError::corrupt("not JSON")),
            false => self.inner.client(id).await,
        };
        if let Ok(Some(client)) = &mut read
            && self.altered.lock().unwrap().contains(id)
        {
            client.disabled = true;
        }
        let gate = self.gate.lock().unwrap().take();
        self.arrived.notify_one();
        if let Some(gate) = gate {
            gate.notified().await;
        }
        read
    }

    async fn federated_clients(&self, issuer: &str, subject: &str, limit: u32) -> Result<Vec<ClientId>, StoreError> {
        self.inner.federated_clients(issuer, subject, limit).await
    }

    async fn clients(&self, after: Option<&ClientId>, limit: u32) -> Result<Vec<Client>, StoreError> {
        self.inner.clients(after, limit).await
    }

    async fn create_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.inner.create_client(client, audit).await
    }

    async fn register_client(
        &self,
        client: &Client,
        clients_max: u64,
        audit: &AdminRecord,
    ) -> Result<Option<Client>, StoreError> {
        self.inner.register_client(client, clients_max, audit).await
    }

    async fn update_client(&self, client: &Client, audit: Option<&AdminRecord>) -> Result<Client, StoreError> {
        self.inner.update_client(client, audit).await
    }

    async fn delete_client(
        &self,
        id: &ClientId,
        revision: Option<u64>,
        audit: Option<&AdminRecord>,
    ) -> Result<(), StoreError> {
        self.inner.delete_client(id, revision, audit).await
    }

    async fn credentials_used(&self, uses: &[CredentialUse]) -> Result<(), StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("pulled the plug"));
        }
        self.uses.lock().unwrap().extend_from_slice(uses);
        Ok(())
    }
}

fn id(name: &str) -> ClientId {
    ClientId::try_from(name).unwrap()
}

fn registry(store: &Arc<Instrumented>) -> ClientRegistry {
    ClientRegistry::new(Arc::clone(store) as Arc<dyn ClientStore>)
}

async fn found(registry: &ClientRegistry, name: &str) -> bool {
    registry.find(&id(name)).await.unwrap().is_some()
}

/// Lets the spawned tasks run; none of them waits for time.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_client_is_read_once() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let registry = registry(&store);
    for _ in 0..3 {
        assert!(found(&registry, "orders").await);
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn an_id_that_does_not_exist_is_read_once() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    for _ in 0..3 {
        assert!(!found(&registry, "stranger").await);
    }
    assert_eq!(store.reads(), 1);
}

#[tokio::test]
async fn of_a_thousand_at_once_one_reads() {
    for (name, exists) in [("orders", true), ("stranger", false)] {
        let store = Instrumented::new().await;
        store.add("orders").await;
        let registry = registry(&store);
        let gate = store.close_gate();
        let callers: Vec<_> = (0..1000)
            .map(|_| {
                let registry = registry.clone();
                tokio::spawn(async move { found(&registry, name).await })
            })
            .collect();
        store.arrived.notified().await;
        settle().await;
        gate.notify_one();
        for caller in callers {
            assert_eq!(caller.await.unwrap(), exists);
        }
        assert_eq!(store.reads(), 1, "{name}");
    }
}

#[tokio::test]
async fn who_gives_up_while_reading_leaves_the_read_to_the_next() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let registry = registry(&store);
    let _gate = store.close_gate();
    let first = tokio::spawn({
        let registry = registry.clone();
        async move { found(&registry, "orders").await }
    });
    store.arrived.notified().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(found(&registry, "orders").await);
}

#[tokio::test]
async fn a_read_that_was_overtaken_by_a_change_is_not_kept() {
    let store = Instrumented::new().await;
    let created = store.add("orders").await;
    let registry = registry(&store);
    let gate = store.close_gate();
    let slow = tokio::spawn({
        let registry = registry.clone();
        async move { registry.find(&id("orders")).await.unwrap().unwrap() }
    });
    store.arrived.notified().await;
    let updated = store.update_client(&Client { disabled: true, ..created }, None).await.unwrap();
    registry.forget(&updated.id);
    gate.notify_one();
    assert!(!slow.await.unwrap().disabled, "asked before the change");
    assert!(registry.find(&updated.id).await.unwrap().unwrap().disabled);
}

#[tokio::test]
async fn an_absence_that_was_overtaken_by_a_creation_is_not_kept() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    let gate = store.close_gate();
    let slow = tokio::spawn({
        let registry = registry.clone();
        async move { found(&registry, "orders").await }
    });
    store.arrived.notified().await;
    store.add("orders").await;
    registry.forget(&id("orders"));
    gate.notify_one();
    assert!(!slow.await.unwrap(), "asked before the creation");
    assert!(found(&registry, "orders").await);
}

#[tokio::test]
async fn memory_is_bounded_and_made_up_ids_push_no_client_out() {
    let store = Instrumented::new().await;
    let registry = ClientRegistry::with_capacity(Arc::clone(&store) as Arc<dyn ClientStore>, 100);
    store.add("orders").await;
    assert!(found(&registry, "orders").await);
    for n in 0..3 * UNKNOWN_MAX {
        // Bypasses the store, which would only make the test slow.
        registry.0.unknown.insert(id(&format!("made-up-{n}")), ());
    }
    assert!(registry.0.unknown.len() <= UNKNOWN_MAX);
    assert!(found(&registry, "orders").await);
    assert_eq!(store.reads(), 1);
    for n in 0..300 {
        store.add(&format!("client-{n}")).await;
        assert!(found(&registry, &format!("client-{n}")).await);
    }
    assert!(registry.0.known.len() <= 100);
}

async fn followed(store: &Arc<Instrumented>) -> (ClientRegistry, Feed, Arc<BreakableLog>) {
    let log = Arc::new(BreakableLog { store: Arc::clone(store), broken: AtomicBool::new(false) });
    let settings = FeedSettings { poll_interval: Duration::from_millis(1), staleness_max: Duration::from_millis(20) };
    let feed = Feed::start(Arc::clone(&log) as Arc<dyn ChangeLog>, settings).await.unwrap();
    let registry = registry(store);
    registry.follow(&feed);
    (registry, feed, log)
}

#[tokio::test]
async fn a_comparison_drops_what_differs_and_keeps_the_rest() {
    let store = Instrumented::new().await;
    for name in ["orders", "billing", "gone", "damaged"] {
        store.add(name).await;
    }
    let registry = registry(&store);
    for name in ["orders", "billing", "gone", "damaged"] {
        assert!(found(&registry, name).await);
    }
    assert!(!found(&registry, "later").await);
    store.altered.lock().unwrap().push(id("orders"));
    store.damaged.lock().unwrap().push(id("damaged"));
    store.delete_client(&id("gone"), None, None).await.unwrap();
    store.add("later").await;
    registry.0.compare().await.unwrap();
    let reads = store.reads();
    assert!(found(&registry, "billing").await);
    assert_eq!(store.reads(), reads, "the same in the store: still in memory");
    assert!(registry.find(&id("orders")).await.unwrap().unwrap().disabled);
    assert!(!found(&registry, "gone").await);
    assert!(found(&registry, "later").await);
    assert!(matches!(registry.find(&id("damaged")).await, Err(StoreError::Corrupt(_))), "not served from memory");
}

#[tokio::test]
async fn a_resync_repairs_memory_through_the_feed() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let (registry, _feed, log) = followed(&store).await;
    assert!(found(&registry, "orders").await);
    store.altered.lock().unwrap().push(id("orders"));
    log.broken.store(true, Ordering::SeqCst);
    until(async || !registry.0.current.load(Ordering::SeqCst)).await;
    log.broken.store(false, Ordering::SeqCst);
    until(async || registry.0.current.load(Ordering::SeqCst)).await;
    assert!(registry.find(&id("orders")).await.unwrap().unwrap().disabled);
}

fn differences(metrics: &PrometheusHandle) -> Option<String> {
    let text = metrics.render();
    let line = text.lines().find(|line| line.starts_with(r#"token_server_store_differences_total{kind="client"}"#));
    line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
}

#[tokio::test(start_paused = true)]
async fn a_difference_is_counted_unless_the_feed_reports_it() {
    for (reported, counted) in [(false, Some("1")), (true, None)] {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let _recorder = metrics::set_default_local_recorder(&recorder);
        let store = Instrumented::new().await;
        let client = store.add("orders").await;
        let (registry, _feed, _log) = followed(&store).await;
        assert!(found(&registry, "orders").await);
        if reported {
            store.update_client(&Client { disabled: true, ..client }, None).await.unwrap();
        } else {
            store.altered.lock().unwrap().push(id("orders"));
        }
        // The comparison is faster than the feed.
        registry.0.compare().await.unwrap();
        registry.0.doubts.send_modify(|doubts| *doubts += 1);
        assert!(registry.find(&id("orders")).await.unwrap().unwrap().disabled);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(differences(&metrics), None, "the feed has ten seconds to report");
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(differences(&metrics).as_deref(), counted, "reported: {reported}");
    }
}

/// A store that returns only for a moment must not empty the cache.
#[tokio::test]
async fn memory_serves_while_a_comparison_cannot_be_made() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let (registry, _feed, _log) = followed(&store).await;
    assert!(found(&registry, "orders").await);
    store.set_broken(true);
    assert!(registry.0.compare().await.unwrap_err().is_transient());
    assert!(found(&registry, "orders").await);
}

#[tokio::test]
async fn memory_that_nothing_corrects_is_not_used() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let (registry, feed, _log) = followed(&store).await;
    assert!(found(&registry, "orders").await);
    let reads = store.reads();
    drop(feed);
    until(async || found(&registry, "orders").await && store.reads() > reads).await;
}

/// S4: made-up IDs of one peer.
#[tokio::test]
async fn a_peer_whose_lookups_hang_delays_no_other() {
    for lookups in [1_000, 100_000] {
        let begun = Instant::now();
        let store = Instrumented::new().await;
        store.add("orders").await;
        let registry = registry(&store);
        let peer = |last| Some(Peer::from(std::net::IpAddr::from([192, 0, 2, last])));
        for n in 0..lookups {
            let registry = registry.clone();
            tokio::spawn(async move { registry.find_for(peer(1), &id(&format!("slow-{n}"))).await });
        }
        // Each call polls some hundred lookups.
        for _ in 0..lookups / 100 {
            settle().await;
        }
        // The next lookups get permits when the first ones time out.
        let turns = 1 + begun.elapsed().as_secs() / PATIENCE.as_secs();
        let reads = store.reads() as u64;
        assert!(reads >= 8 && reads <= 8 * turns, "its share of {lookups}: {reads} in {turns} turns");
        assert!(registry.find_for(peer(2), &id("orders")).await.unwrap().is_some());
    }
}

/// A registration access token is checked after the lookup, so the caller may be a stranger.
#[tokio::test]
async fn registration_lookups_of_a_peer_are_within_its_share() {
    let store = Instrumented::new().await;
    let pepper = Pepper::new(&KeyMaterial::from_bytes([1; 32]));
    let admin = ClientAdmin::new(
        Arc::clone(&store) as _,
        registry(&store),
        Peppers::new(pepper, vec![]),
        Arc::new(SystemClock),
        AdminRules::new(Duration::from_secs(3600)),
    );
    let peer = Peer::from(std::net::IpAddr::from([192, 0, 2, 1]));
    for n in 0..100 {
        let admin = admin.clone();
        tokio::spawn(async move { admin.registered(peer, &format!("slow-{n}"), "token").await.map(drop) });
    }
    settle().await;
    assert_eq!(store.reads(), 8);
}

/// The store's own log, which fails on demand.
struct BreakableLog {
    store: Arc<Instrumented>,
    broken: AtomicBool,
}

#[async_trait]
impl ChangeLog for BreakableLog {
    async fn last_change(&self) -> Result<u64, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("pulled the plug"));
        }
        self.store.inner.last_change().await
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<crate::store::LogPage, StoreError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(StoreError::unavailable("pulled the plug"));
        }
        self.store.inner.changes_from(sequence, limit).await
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        self.store.inner.purge_changes(age).await
    }

    async fn changed(&self) {
        self.store.inner.changed().await;
    }
}

/// Polls for at most ten seconds for a condition that another task causes.
async fn until(condition: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came about");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_creation_elsewhere_ends_the_absence_in_memory() {
    let store = Instrumented::new().await;
    let (registry, _feed, _log) = followed(&store).await;
    assert!(!found(&registry, "orders").await);
    store.add("orders").await;
    until(async || found(&registry, "orders").await).await;
}

#[tokio::test]
async fn a_change_elsewhere_reaches_memory() {
    let store = Instrumented::new().await;
    let created = store.add("orders").await;
    let (registry, _feed, _log) = followed(&store).await;
    assert!(found(&registry, "orders").await);
    store.update_client(&Client { disabled: true, ..created }, None).await.unwrap();
    until(async || registry.find(&id("orders")).await.unwrap().unwrap().disabled).await;
    store.delete_client(&id("orders"), None, None).await.unwrap();
    until(async || !found(&registry, "orders").await).await;
}

#[tokio::test]
async fn while_the_store_is_out_of_reach_memory_serves_until_it_is_too_old() {
    let store = Instrumented::new().await;
    store.add("orders").await;
    let (registry, _feed, log) = followed(&store).await;
    assert!(found(&registry, "orders").await);
    store.set_broken(true);
    assert!(found(&registry, "orders").await, "in memory");
    assert!(registry.find(&id("billing")).await.unwrap_err().is_transient(), "not in memory");
    log.broken.store(true, Ordering::SeqCst);
    until(async || registry.find(&id("orders")).await.is_err()).await;
    store.set_broken(false);
    log.broken.store(false, Ordering::SeqCst);
    until(async || registry.0.current.load(Ordering::SeqCst)).await;
    assert!(found(&registry, "orders").await, "healed by itself");
}

#[tokio::test]
async fn a_failing_store_is_asked_once_a_second_and_not_by_everybody() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    store.set_broken(true);
    for n in 0..100 {
        assert!(registry.find(&id(&format!("client-{n}"))).await.unwrap_err().is_transient());
    }
    assert_eq!(store.reads(), 1);
    store.set_broken(false);
    tokio::time::pause();
    tokio::time::advance(OUTAGE_MEMORY).await;
    tokio::time::resume();
    assert!(!found(&registry, "stranger").await);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_out_of_reach() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    let _never_opened = store.close_gate();
    let asked = tokio::spawn(async move { registry.find(&id("orders")).await });
    store.arrived.notified().await;
    tokio::time::pause();
    tokio::time::advance(PATIENCE).await;
    assert!(asked.await.unwrap().unwrap_err().is_transient());
}

#[tokio::test]
async fn uses_are_collected_to_the_minute_and_written_once() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for second in [61, 119, 75] {
        registry.credential_used(&id("orders"), "a", at(second));
    }
    registry.credential_used(&id("orders"), "b", at(130));
    assert!(store.uses.lock().unwrap().is_empty(), "nothing is written when a credential is used");
    registry.write_uses().await.unwrap();
    let mut uses: Vec<_> = store.uses.lock().unwrap().drain(..).map(|used| (used.credential_id, used.time)).collect();
    uses.sort();
    assert_eq!(uses, [("a".to_owned(), at(60)), ("b".to_owned(), at(120))]);
    registry.write_uses().await.unwrap();
    assert!(store.uses.lock().unwrap().is_empty());
}

#[tokio::test]
async fn uses_that_could_not_be_written_are_kept() {
    let store = Instrumented::new().await;
    let registry = registry(&store);
    registry.credential_used(&id("orders"), "a", SystemTime::UNIX_EPOCH);
    store.set_broken(true);
    assert!(registry.write_uses().await.is_err());
    store.set_broken(false);
    registry.write_uses().await.unwrap();
    assert_eq!(store.uses.lock().unwrap().len(), 1);
}
