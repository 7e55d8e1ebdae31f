//! What an operator sees of the layer: a span that names the caller, decisions counted by closed reason, and
//! never a token.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fmt::Write as _,
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Request, Response};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use token_interceptor::{layer::AuthorizationLayer, test_util::TestIssuer};
use token_proto::policy::Requirement;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// A good call and five bad ones; the tokens that were presented.
fn calls() -> Vec<String> {
    let issuer = TestIssuer::new("https://issuer.example");
    let requirement = Requirement { all_scopes: vec!["read".into()].into(), ..Requirement::any_token() };
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", requirement);
    let inner = tower::service_fn(|_: Request<Body>| async {
        tracing::info!("the handler runs");
        Ok::<_, Infallible>(Response::new(Body::empty()))
    });
    let service = layer.layer(inner);
    let good = issuer.token().scope("read").claim("jti", "t-1");
    let tokens = vec![
        good.sign(),
        good.clone().scope("write").sign(),
        good.clone().claim("exp", 1).sign(),
        format!("{}x", good.sign()),
        good.clone().header("kid", "another").sign(),
        String::new(),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for token in &tokens {
        let mut request = Request::new(Body::empty());
        if !token.is_empty() {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        runtime.block_on(service.clone().oneshot(request)).unwrap();
    }
    tokens
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// A second dispatcher, alive as long as the program. With one alone, an event's first thread decides for all
/// threads whether it is ever recorded; and other tests' threads have no subscriber.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

fn capture() -> (Vec<String>, String) {
    LazyLock::force(&SECOND);
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(captured.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .finish();
    let tokens = tracing::subscriber::with_default(subscriber, calls);
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    (tokens, text)
}

#[test]
fn the_handlers_span_names_client_and_token_id() {
    let (_, text) = capture();
    let line = text.lines().find(|line| line.contains("the handler runs")).unwrap();
    assert!(line.contains(r#"authorized{client_id="orders" jti="t-1"}"#), "{line}");
}

#[test]
fn no_token_and_no_part_of_one_is_ever_logged() {
    let (tokens, text) = capture();
    assert!(text.contains("a call is refused"));
    for token in tokens.iter().filter(|token| !token.is_empty()) {
        for part in token.split('.') {
            assert!(!text.contains(part), "{part} is in the log");
        }
    }
}

/// Counts by name and labels.
#[derive(Default)]
struct Counts(Mutex<BTreeMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            write!(name, " {}={}", label.key(), label.value()).unwrap();
        }
        Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn decisions_are_counted_by_closed_reason() {
    let counts = Counts::default();
    metrics::with_local_recorder(&counts, calls);
    let counts = counts.0.into_inner().unwrap();
    let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), count.0.load(Ordering::Relaxed))).collect();
    assert_eq!(
        counts,
        [
            ("token_decisions_total outcome=allowed reason=ok", 1),
            ("token_decisions_total outcome=denied reason=credentials_missing", 1),
            ("token_decisions_total outcome=denied reason=expired", 1),
            ("token_decisions_total outcome=denied reason=key_unknown", 1),
            ("token_decisions_total outcome=denied reason=malformed", 1),
            ("token_decisions_total outcome=denied reason=scope", 1),
        ]
    );
}
