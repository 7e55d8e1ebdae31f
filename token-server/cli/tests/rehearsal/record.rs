//! The record of the steps, the outages and the callers' results.

use std::time::{Duration, Instant};

use crate::{
    load::{Call, times},
    side::Failure,
};

/// The time that callers have to recover after an outage.
const GRACE: Duration = Duration::from_secs(1);

/// Steps and outages in chronological order.
#[derive(Default)]
pub(crate) struct Record {
    steps: Vec<Step>,
    outages: Vec<Outage>,
}

struct Step {
    what: &'static str,
    begun: Instant,
    metric: &'static str,
}

/// A period in which calls may fail: a replica was down, or verifiers did not know a key yet.
struct Outage {
    replica: Option<usize>,
    from: Instant,
    until: Instant,
}

impl Outage {
    fn explains(&self, call: &Call<Failure>) -> bool {
        let (from, until) = (self.from, self.until + GRACE);
        self.replica.is_none_or(|replica| replica == call.replica)
            && call.begun < until
            && call.begun + call.took > from
    }
}

impl Record {
    /// Begins a step that `metric` will show.
    pub(crate) fn begin(&mut self, what: &'static str, metric: &'static str) {
        self.steps.push(Step { what, begun: Instant::now(), metric });
    }

    /// Records an outage from `from` until now: of one replica, or of all if `None`.
    pub(crate) fn outage(&mut self, replica: Option<usize>, from: Instant) {
        self.outages.push(Outage { replica, from, until: Instant::now() });
    }

    /// Prints the table. Returns the failed calls that no outage explains.
    pub(crate) fn print(&self, ended: Instant, calls: &[Call<Failure>]) -> Vec<String> {
        let mut unexplained = Vec::new();
        eprintln!("| step | took | calls | failed inside an outage | failed outside | p50 | p99 | max | seen by |");
        eprintln!("|---|---|---|---|---|---|---|---|---|");
        let ends = self.steps.iter().skip(1).map(|next| Some(next.begun)).chain([None]);
        for (step, end) in self.steps.iter().zip(ends) {
            let during = |call: &&Call<Failure>| call.begun >= step.begun && end.is_none_or(|end| call.begun < end);
            let calls: Vec<_> = calls.iter().filter(during).collect();
            let failed = calls.iter().copied().filter(|call| call.outcome.is_err());
            let explained = |call: &&Call<Failure>| self.outages.iter().any(|outage| outage.explains(call));
            let (explained, not): (Vec<_>, Vec<_>) = failed.partition(explained);
            let told = |call: &&Call<Failure>| {
                call.outcome
                    .as_ref()
                    .err()
                    .map(|failure| format!("{}, at replica {}: {failure}", step.what, call.replica))
            };
            unexplained.extend(not.iter().filter_map(told));
            let [p50, p99, max] = times(&calls).map(|time| format!("{:.1} ms", time.as_secs_f64() * 1e3));
            let (calls, explained, not) = (calls.len(), explained.len(), not.len());
            let took = end.unwrap_or(ended).duration_since(step.begun).as_secs_f64();
            let (what, metric) = (step.what, step.metric);
            eprintln!("| {what} | {took:.1} s | {calls} | {explained} | {not} | {p50} | {p99} | {max} | `{metric}` |");
        }
        unexplained
    }
}
