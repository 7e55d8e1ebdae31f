use std::{collections::BTreeSet, sync::Mutex};

use async_trait::async_trait;
use tokio::{sync::Notify, time::timeout};

use super::*;
use crate::{
    client::ClientId,
    store::{
        LogPage,
        faults::{FAULTS, Faults},
    },
    timestamp::from_millis,
};

/// An in-memory log that fails on demand and whose history can be replaced.
#[derive(Default)]
struct FakeLog {
    faults: Faults,
    epoch: Mutex<String>,
    changes: Mutex<Vec<Change>>,
    purged: Mutex<Vec<Duration>>,
    connections_lost: Mutex<u64>,
    wake: Notify,
}

impl FakeLog {
    fn add(&self, sequence: u64, name: &str) {
        self.put(sequence, name, Some(client(name)));
    }

    fn put(&self, sequence: u64, mark: &str, kind: Option<ChangeKind>) {
        let change = Change { sequence, time: from_millis(0), mark: mark.to_owned(), kind };
        self.changes.lock().unwrap().push(change);
    }

    /// Replaces the store by another server, whose log holds these changes.
    fn replace(&self, changes: &[(u64, &str)]) {
        self.changes.lock().unwrap().clear();
        changes.iter().for_each(|(sequence, name)| self.add(*sequence, name));
    }

    fn set_broken(&self, broken: bool) {
        self.faults.set_broken(broken);
    }
}

#[async_trait]
impl ChangeLog for FakeLog {
    async fn last_change(&self) -> Result<u64, StoreError> {
        self.faults.point().await?;
        let last = self.changes.lock().unwrap().last().map_or(0, |change| change.sequence);
        self.faults.point().await?;
        Ok(last)
    }

    async fn changes_from(&self, sequence: u64, limit: u32) -> Result<LogPage, StoreError> {
        self.faults.point().await?;
        let page = {
            let changes = self.changes.lock().unwrap();
            let from = changes.iter().filter(|change| change.sequence >= sequence);
            let changes = from.take(limit.try_into().unwrap()).cloned().collect();
            LogPage { epoch: self.epoch.lock().unwrap().clone(), changes }
        };
        self.faults.point().await?;
        Ok(page)
    }

    async fn purge_changes(&self, age: Duration) -> Result<u64, StoreError> {
        self.faults.point().await?;
        self.purged.lock().unwrap().push(age);
        Ok(0)
    }

    async fn changed(&self) {
        self.wake.notified().await;
    }

    fn connections_lost(&self) -> u64 {
        *self.connections_lost.lock().unwrap()
    }
}

fn client(name: &str) -> ChangeKind {
    ChangeKind::Client(ClientId::try_from(name).unwrap())
}

async fn start(log: &Arc<FakeLog>) -> (Feed, Subscription) {
    let settings = FeedSettings { staleness_max: Duration::from_secs(60), ..FeedSettings::default() };
    let feed = Feed::start(Arc::clone(log) as Arc<dyn ChangeLog>, settings).await.unwrap();
    let subscription = feed.subscribe();
    (feed, subscription)
}

#[tokio::test(start_paused = true)]
async fn begins_at_the_end_of_the_log_and_passes_changes_on_in_order() {
    let log = Arc::new(FakeLog::default());
    log.add(3, "old");
    let (_feed, mut events) = start(&log).await;
    log.add(4, "a");
    log.add(9, "b");
    assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    assert_eq!(events.next().await, Some(Event::Changed(client("b"))));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_this_process_is_passed_on_without_waiting_for_the_poll() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    let begun = Instant::now();
    log.add(1, "a");
    log.wake.notify_one();
    assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_another_process_is_passed_on_within_a_second() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    let begun = Instant::now();
    log.add(1, "a");
    assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    assert!(begun.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_short_outage_loses_nothing() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    log.set_broken(true);
    log.add(1, "a");
    sleep(Duration::from_secs(30)).await;
    log.set_broken(false);
    assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    assert_eq!(events.next().await, Some(Event::Resync), "the store may be another server");
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_is_told_once_and_ends_in_a_resync() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    let begun = Instant::now();
    log.set_broken(true);
    assert_eq!(events.next().await, Some(Event::Stale));
    assert!(begun.elapsed() >= Duration::from_secs(60));
    sleep(Duration::from_secs(300)).await;
    log.set_broken(false);
    assert_eq!(events.next().await, Some(Event::Resync));
}

/// Returns all pending events, and those that arrive within a minute.
async fn drain(events: &mut Subscription) -> Vec<Event> {
    let mut drained = Vec::new();
    while let Ok(Some(event)) = timeout(Duration::from_secs(60), events.next()).await {
        drained.push(event);
    }
    drained
}

/// Returns the numbers in the names of the changed clients. A resync adds none.
fn reached(events: &[Event]) -> BTreeSet<u64> {
    let changed = events.iter().filter_map(|event| match event {
        Event::Changed(ChangeKind::Client(id)) => Some(id.as_str().parse().unwrap()),
        Event::Changed(_) | Event::Resync | Event::Stale => None,
    });
    changed.collect()
}

/// S1: the second page failed, and the first was discarded.
#[tokio::test(start_paused = true)]
async fn no_change_is_lost_by_a_fault_at_any_await() {
    let last = u64::from(BATCH) * 2 + 10;
    let mut injected = 0;
    for fault in FAULTS {
        for at in 0.. {
            let log = Arc::new(FakeLog::default());
            let (_feed, mut events) = start(&log).await;
            for sequence in 1..=last {
                log.add(sequence, &sequence.to_string());
            }
            log.faults.plan(at, fault);
            let events = drain(&mut events).await;
            assert_eq!(reached(&events).len() as u64, last, "{fault:?} at {at}");
            if at >= 8 {
                break;
            }
            injected += usize::from(log.faults.happened());
        }
    }
    assert_eq!(injected, 3 * 8, "each at every await");
}

/// The same when the log was replaced: the follower then reads the position again, in two queries.
#[tokio::test(start_paused = true)]
async fn a_replaced_log_is_noticed_with_a_fault_at_any_await() {
    for fault in FAULTS {
        for at in 0..8 {
            let log = Arc::new(FakeLog::default());
            log.add(1, "1");
            let (_feed, mut events) = start(&log).await;
            log.replace(&[(1, "other"), (2, "2"), (3, "3")]);
            log.faults.plan(at, fault);
            let seen = drain(&mut events).await;
            assert!(seen.contains(&Event::Resync), "{fault:?} at {at}: {seen:?}");
            log.add(4, "4");
            assert_eq!(events.next().await, Some(Event::Changed(client("4"))), "{fault:?} at {at}");
        }
    }
}

/// S21, T1: after a failover that lost transactions, sequence numbers are reused.
#[tokio::test(start_paused = true)]
async fn a_history_that_differs_is_a_resync_at_any_length() {
    let histories: [(&str, &[(u64, &str)]); 6] = [
        ("empty", &[]),
        ("shorter", &[(4, "a")]),
        ("as long, another change", &[(4, "a"), (5, "x")]),
        ("longer", &[(4, "a"), (5, "x"), (6, "y")]),
        ("longer, the number never given out", &[(4, "a"), (37, "y")]),
        ("much longer", &[(4, "a"), (5, "x"), (6, "y"), (7, "z"), (900, "w")]),
    ];
    for (claim, history) in histories {
        let log = Arc::new(FakeLog::default());
        log.add(4, "a");
        log.add(5, "b");
        let (_feed, mut events) = start(&log).await;
        log.replace(history);
        assert_eq!(events.next().await, Some(Event::Resync), "{claim}");
        log.add(1000, "next");
        assert_eq!(events.next().await, Some(Event::Changed(client("next"))), "{claim}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_of_another_epoch_is_a_resync() {
    for first in [None, Some(1)] {
        let log = Arc::new(FakeLog::default());
        first.iter().for_each(|sequence| log.add(*sequence, "a"));
        let (_feed, mut events) = start(&log).await;
        "another".clone_into(&mut log.epoch.lock().unwrap());
        assert_eq!(events.next().await, Some(Event::Resync), "{first:?}");
    }
}

/// The interval bounds how long a cache can differ from the store, for any cause.
#[tokio::test(start_paused = true)]
async fn everything_is_read_anew_at_an_interval() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    let begun = Instant::now();
    for n in 1..=3 {
        assert_eq!(events.next().await, Some(Event::Resync));
        let late = begun.elapsed() - RESYNC_INTERVAL * n;
        assert!(late < Duration::from_secs(5), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_an_unknown_kind_is_a_resync() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    log.put(1, "m", None);
    log.add(2, "a");
    assert_eq!(events.next().await, Some(Event::Changed(client("a"))));
    assert_eq!(events.next().await, Some(Event::Resync));
    log.add(3, "b");
    assert_eq!(events.next().await, Some(Event::Changed(client("b"))), "the feed goes on");
}

#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_a_resync_and_not_a_stream_of_them() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    for _ in 0..50 {
        *log.connections_lost.lock().unwrap() += 1;
        log.wake.notify_one();
        tokio::task::yield_now().await;
        log.set_broken(true);
        sleep(Duration::from_millis(600)).await;
        log.set_broken(false);
        sleep(Duration::from_millis(600)).await;
    }
    let seen = drain(&mut events).await;
    assert!(seen.iter().all(|event| *event == Event::Resync));
    assert!((6..=8).contains(&seen.len()), "one in ten seconds of a minute: {}", seen.len());
}

#[tokio::test(start_paused = true)]
async fn who_lags_too_far_behind_resyncs() {
    let log = Arc::new(FakeLog::default());
    let (_feed, mut events) = start(&log).await;
    for sequence in 1..=3 * 1024 {
        log.add(sequence, "a");
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(events.next().await, Some(Event::Resync));
}

#[tokio::test(start_paused = true)]
async fn the_log_is_purged_of_changes_that_every_replica_has() {
    let log = Arc::new(FakeLog::default());
    let (_feed, _events) = start(&log).await;
    sleep(PURGE_INTERVAL * 3 + Duration::from_secs(60)).await;
    assert_eq!(*log.purged.lock().unwrap(), [KEPT; 3]);
}

#[tokio::test(start_paused = true)]
async fn ends_with_its_last_handle() {
    let log = Arc::new(FakeLog::default());
    let (feed, mut events) = start(&log).await;
    drop(feed);
    assert_eq!(events.next().await, None);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(Arc::strong_count(&log), 1);
}
