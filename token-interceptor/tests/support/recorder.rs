//! A recorder of metrics that a test reads.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// Counters and gauges by name and labels: `name label=value`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    counters: Cells,
    gauges: Cells,
}

type Cells = Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>;

impl Measured {
    /// Returns every counter, sorted by name.
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        let counters = self.counters.lock().unwrap();
        counters.iter().map(|(name, cell)| (name.clone(), cell.load(Ordering::Relaxed))).collect()
    }

    /// Returns one counter; 0 if nothing was counted.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.counts().get(name).copied().unwrap_or_default()
    }

    /// Returns one gauge, if it was ever set.
    pub(crate) fn gauge(&self, name: &str) -> Option<f64> {
        self.gauges.lock().unwrap().get(name).map(|cell| f64::from_bits(cell.load(Ordering::Relaxed)))
    }
}

fn cell(cells: &Cells, key: &Key) -> Arc<AtomicU64> {
    let mut name = key.name().to_owned();
    for label in key.labels() {
        write!(name, " {}={}", label.key(), label.value()).unwrap();
    }
    Arc::clone(cells.lock().unwrap().entry(name).or_default())
}

impl Recorder for Measured {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(cell(&self.counters, key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(cell(&self.gauges, key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
