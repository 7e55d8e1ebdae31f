//! The rule of each method: its demand, its mode, and its part of the metrics. Resolved when the layer is
//! built, so that a call only looks it up.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use metrics::{Counter, SharedString};
use quick_cache::DefaultHashBuilder;
use token_proto::policy::{MethodKind, StreamExpiry};

use super::fixed::Fixed;
use crate::{
    error::Denied,
    policy::{Demand, PolicyError, ServedPolicy, TokenDemand, matches},
};

/// The label `method` of paths that the policy does not know.
const UNKNOWN: &str = "unknown";
/// The label `method` of a layer with one demand for every request.
const ANY: &str = "any";

/// The characters of an unknown path that the log shows, at the most. Longer than any method's path.
const PATH_CHARS_MAX: usize = 256;

/// The rules of a layer.
#[derive(Clone, Debug)]
pub(super) enum Rules {
    /// The rule depends on the path.
    ByMethod {
        /// Only the program chooses the paths, so the hash need not resist attacks.
        methods: HashMap<Cow<'static, str>, Rule, DefaultHashBuilder>,
        /// The rule of every other path.
        unknown: Rule,
    },
    /// The same rule for every request.
    Same(Rule),
}

/// The rule of one method.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) demand: Demand,
    ending: Option<Ending>,
    /// True if the layer only observes: it decides and counts, and lets the call pass.
    pub(super) observed: bool,
    method: SharedString,
    allowed: OnceLock<Counter>,
    /// The counter of the fixed refusal: of calls without a token, or of a method without a policy.
    fixed: OnceLock<Counter>,
}

/// The parts of a long call that end with its token.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// True if the call may end before it is answered: its client sends a stream.
    pub(super) until_answered: bool,
    /// True if the request body ends too.
    pub(super) request: bool,
}

impl Rules {
    pub(super) fn by_method(policy: ServedPolicy) -> Self {
        let methods = policy.into_demands().map(|(path, demand)| {
            let ending = demand.token().and_then(|demand| Ending::of(demand, false));
            let method = match &path {
                Cow::Borrowed(path) => (*path).into(),
                Cow::Owned(path) => Arc::<str>::from(&**path).into(),
            };
            (path, Rule::new(demand, ending, method))
        });
        Self::ByMethod { methods: methods.collect(), unknown: Rule::new(Demand::Undeclared, None, UNKNOWN.into()) }
    }

    pub(super) fn same(demand: Demand) -> Self {
        let ending = demand.token().and_then(|demand| Ending::of(demand, true));
        Self::Same(Rule::new(demand, ending, ANY.into()))
    }

    /// Returns the rule of a request's path.
    pub(super) fn of(&self, path: &str) -> &Rule {
        match self {
            Self::Same(rule) => rule,
            Self::ByMethod { methods, unknown } => methods.get(path).unwrap_or(unknown),
        }
    }

    /// Observes every request.
    pub(super) fn observe(&mut self) {
        match self {
            Self::Same(rule) => rule.set_observed(true),
            Self::ByMethod { methods, unknown } => {
                methods.values_mut().chain([unknown]).for_each(|rule| rule.set_observed(true));
            }
        }
    }

    /// Observes the methods that match `patterns`, and enforces the others.
    pub(super) fn observe_only(&mut self, patterns: &[&str]) -> Result<(), PolicyError> {
        let (methods, others) = match self {
            Self::Same(rule) => (None, rule),
            Self::ByMethod { methods, unknown } => (Some(methods), unknown),
        };
        let methods = methods.into_iter().flatten();
        others.set_observed(false);
        let mut matched = vec![false; patterns.len()];
        for (path, rule) in methods {
            rule.set_observed(false);
            for (matched, _) in matched.iter_mut().zip(patterns).filter(|(_, pattern)| matches(pattern, path)) {
                *matched = true;
                rule.set_observed(true);
            }
        }
        let unmatched = patterns.iter().zip(matched).filter(|(_, matched)| !matched);
        PolicyError::or(
            unmatched.map(|(pattern, _)| format!("{pattern:?}: names no method of the policy")).collect(),
            (),
        )
    }
}

impl Rule {
    fn new(demand: Demand, ending: Option<Ending>, method: SharedString) -> Self {
        Self { demand, ending, observed: false, method, allowed: OnceLock::new(), fixed: OnceLock::new() }
    }

    /// Returns the name for the log: the method's path. `called` is the path of the request, which stands for
    /// a method that the policy does not know.
    pub(super) fn name<'a>(&'a self, called: &'a str) -> &'a str {
        if *self.method == *UNKNOWN { cut(called) } else { &self.method }
    }

    /// Returns the parts of a call that end with its token; `None` for a call that is authorized only once. A
    /// call that is only observed is watched, and ends by itself.
    pub(super) fn ending(&self) -> Option<Ending> {
        let watched = Ending { until_answered: false, request: false };
        self.ending.map(|ending| if self.observed { watched } else { ending })
    }

    /// The counter is looked up once, so a program installs its recorder before it serves.
    pub(super) fn count_allowed(&self) {
        let counter = || self.counter("allowed", "ok");
        self.allowed.get_or_init(counter).increment(1);
    }

    /// Counts a call that was denied, or would be.
    pub(super) fn count_denied(&self, denied: &Denied) {
        let outcome = if self.observed { "would_deny" } else { "denied" };
        let counter = || self.counter(outcome, denied.label());
        if Fixed::is(denied) {
            self.fixed.get_or_init(counter).increment(1);
        } else {
            counter().increment(1);
        }
    }

    fn set_observed(&mut self, observed: bool) {
        (self.observed, self.fixed) = (observed, OnceLock::new());
    }

    fn counter(&self, outcome: &'static str, reason: &'static str) -> Counter {
        let method = self.method.clone();
        metrics::counter!("token_decisions_total", "outcome" => outcome, "reason" => reason, "method" => method)
    }
}

/// Cuts a path that the caller chose.
fn cut(path: &str) -> &str {
    let end = path.char_indices().nth(PATH_CHARS_MAX).map_or(path.len(), |(at, _)| at);
    path.get(..end).unwrap_or_default()
}

impl Ending {
    /// `any_kind`: the kind of method is unknown, so both directions may be streams.
    fn of(demand: &TokenDemand, any_kind: bool) -> Option<Self> {
        match demand.requirement.stream_expiry {
            StreamExpiry::Allow => None,
            // One message is no stream, even if it takes long.
            StreamExpiry::Close if demand.kind == MethodKind::Unary => None,
            StreamExpiry::Close => {
                let until_answered = demand.kind.is_client_streaming();
                Some(Self { until_answered, request: any_kind || until_answered })
            }
        }
    }
}
