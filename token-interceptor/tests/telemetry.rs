//! The layer's telemetry: a span that names the caller, decisions counted by a closed set of reasons, and
//! never a token.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/recorder.rs"]
mod recorder;

use std::{
    convert::Infallible,
    io,
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use http::{Request, Response};
use recorder::Measured;
use token_interceptor::{
    api_keys::{ApiKey, ApiKeys, KeyHash},
    clock::Clock as _,
    layer::AuthorizationLayer,
    test_util::TestIssuer,
};
use token_proto::policy::Requirement;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// Makes a valid call and five invalid ones. Returns the presented tokens.
fn calls() -> Vec<String> {
    let issuer = TestIssuer::new("https://issuer.example");
    let requirement = Requirement::any_token().with_all_scopes(["read"]);
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

/// A second dispatcher that lives as long as the program. With only one, the first thread of an event decides
/// for all threads if it is ever recorded, and other tests' threads have no subscriber.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

fn capture() -> (Vec<String>, String) {
    captured(calls)
}

/// Returns the result of `work`, and its log.
fn captured<T>(work: impl FnOnce() -> T) -> (T, String) {
    LazyLock::force(&SECOND);
    let captured = Captured::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(captured.clone())
        .with_ansi(false)
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .finish();
    let result = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(captured.0.lock().unwrap().clone()).unwrap();
    (result, text)
}

#[test]
fn the_handlers_span_names_client_and_token_id() {
    let (_, text) = capture();
    let line = text.lines().find(|line| line.contains("the handler runs")).unwrap();
    assert!(line.contains(r#"authorized{client_id="orders" jti="t-1"}"#), "{line}");
}

#[test]
fn a_refusals_line_says_what_came_and_what_was_expected() {
    let (_, text) = capture();
    for (check, detail) in [
        ("scope", r#"missing scopes: read (scope: "write", expected all of ["read"])"#),
        ("expired", "the token has expired (exp: 1, expected more than "),
        ("key_unknown", r#"(kid: "another", expected a key that the issuer publishes)"#),
        ("credentials_missing", "no bearer token was presented"),
    ] {
        let named = |line: &&str| line.contains(&format!("check=\"{check}\""));
        let line = text.lines().find(named).unwrap();
        let fit = line.contains(" INFO ") && line.contains("a call is refused") && line.contains(r#"method="any""#);
        assert!(fit && line.contains(detail), "{line}");
    }
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

#[test]
fn no_api_key_and_no_hash_of_one_is_ever_logged() {
    let issuer = TestIssuer::new("https://issuer.example");
    let now = issuer.clock().now();
    let key = |text: &str, sunset| ApiKey::new(KeyHash::of(text), "billing", sunset).audiences(["inventory"]);
    let keys = [key("sk-valid-secret", now + Duration::from_secs(60)), key("sk-retired-secret", now)];
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token());
    let layer = layer.scheme(ApiKeys::new(now, keys).unwrap()).unwrap();
    let ((), text) = captured(|| {
        let inner = tower::service_fn(|request: Request<Body>| async move {
            tracing::info!(?request, "the handler runs");
            Ok::<_, Infallible>(Response::new(Body::empty()))
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        for key in ["sk-valid-secret", "sk-valid-secret", "sk-retired-secret", "sk-made-up-secret"] {
            let request = Request::builder().header("x-api-key", key).body(Body::empty()).unwrap();
            runtime.block_on(layer.layer(inner).oneshot(request)).unwrap();
        }
    });
    // One line an hour for a key in use, and one for each refusal.
    for (part, lines) in [("an API key is used", 2), ("a call is refused", 2), ("the handler runs", 2)] {
        assert_eq!(text.lines().filter(|line| line.contains(part)).count(), lines, "{part}: {text}");
    }
    let hash = KeyHash::of("sk-valid-secret").to_string();
    assert!(!text.contains("secret") && !text.contains(&hash[..16]), "{text}");
}

#[test]
fn decisions_are_counted_by_closed_reason() {
    let measured = Measured::default();
    metrics::with_local_recorder(&measured, calls);
    let counts = measured.counts();
    let counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    assert_eq!(
        counts,
        [
            ("token_decisions_total outcome=allowed reason=ok method=any", 1),
            ("token_decisions_total outcome=denied reason=credentials_missing method=any", 1),
            ("token_decisions_total outcome=denied reason=expired method=any", 1),
            ("token_decisions_total outcome=denied reason=key_unknown method=any", 1),
            ("token_decisions_total outcome=denied reason=malformed method=any", 1),
            ("token_decisions_total outcome=denied reason=scope method=any", 1),
        ]
    );
}
