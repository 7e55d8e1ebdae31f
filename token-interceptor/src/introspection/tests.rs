#![allow(clippy::unwrap_used, reason = "a test")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::*;
use crate::{
    clock::{Clock as _, numeric_date},
    key_set::KeySet,
    revocation::Revocations,
    source::SecretIn,
    test_util::FakeClock,
    verify::{TokenProfile, TrustedIssuer},
};

const ISSUER: &str = "https://login.example";

/// An introspection endpoint on loopback.
#[derive(Default)]
struct Endpoint {
    answer: Mutex<String>,
    status: Mutex<u16>,
    requests: AtomicUsize,
    forms: Mutex<Vec<(String, String)>>,
    /// Permits to answer, once the endpoint is slow.
    gate: Option<Semaphore>,
}

async fn introspect(
    State(endpoint): State<Arc<Endpoint>>,
    headers: HeaderMap,
    form: Bytes,
) -> (http::StatusCode, String) {
    endpoint.requests.fetch_add(1, Ordering::SeqCst);
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let form = String::from_utf8(form.to_vec()).unwrap();
    endpoint.forms.lock().unwrap().push((authorization.unwrap_or_default(), form));
    if let Some(gate) = &endpoint.gate {
        gate.acquire().await.unwrap().forget();
    }
    let status = http::StatusCode::from_u16(*endpoint.status.lock().unwrap()).unwrap();
    (status, endpoint.answer.lock().unwrap().clone())
}

struct World {
    endpoint: Arc<Endpoint>,
    url: String,
    clock: Arc<FakeClock>,
    verifier: Verifier,
    revocations: Revocations,
}

impl World {
    async fn start(gate: Option<Semaphore>) -> Self {
        let endpoint = Arc::new(Endpoint { status: Mutex::new(200), gate, ..Endpoint::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/introspect", listener.local_addr().unwrap());
        let router = Router::new().route("/introspect", post(introspect)).with_state(Arc::clone(&endpoint));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let (clock, revocations) = (Arc::new(FakeClock::default()), Revocations::new());
        let issuer = TrustedIssuer::fixed(ISSUER, KeySet::default())
            .unwrap()
            .profile(TokenProfile::rfc7519().token_id_optional().lifetime_max(Duration::from_secs(3600)))
            .clients(["billing", "shop"])
            .scopes(["read"])
            .audiences(["inventory"])
            .revocations(revocations.clone());
        let verifier = Verifier::builder().issuer(issuer).clock(clock.clone()).build().unwrap();
        let world = Self { endpoint, url, clock, verifier, revocations };
        world.says(json!({}));
        world
    }

    fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The endpoint answers with an active token, in which these members differ. `null` leaves one out.
    fn says(&self, members: Value) {
        let now = numeric_date(self.now());
        let mut answer = json!({
            "active": true, "client_id": "billing", "sub": "billing", "aud": "inventory", "scope": "read write",
            "iat": now, "exp": now + 600,
        });
        for (name, value) in members.as_object().unwrap() {
            answer[name] = value.clone();
        }
        let kept: serde_json::Map<_, _> =
            answer.as_object().unwrap().clone().into_iter().filter(|(_, value)| !value.is_null()).collect();
        *self.endpoint.answer.lock().unwrap() = Value::Object(kept).to_string();
    }

    fn builder(&self) -> IntrospectionBuilder {
        Introspection::builder(&self.verifier, ISSUER, &self.url).client("inventory", "a-secret")
    }

    fn scheme(&self) -> Introspection {
        self.builder().build().unwrap()
    }

    async fn ask(&self, scheme: &Introspection, token: &str) -> Result<Identity, Denied> {
        scheme.authenticate(UnverifiedToken::new(token), &Asked::new("inventory", self.now())).await
    }

    async fn outcome(&self, scheme: &Introspection, token: &str) -> &'static str {
        self.ask(scheme, token).await.map_or_else(|denied| denied.label(), |_| "ok")
    }

    fn requests(&self) -> usize {
        self.endpoint.requests.load(Ordering::SeqCst)
    }
}

/// For each check, an answer that fails only that check.
#[tokio::test]
async fn an_answer_passes_the_checks_of_a_token() {
    let world = World::start(None).await;
    let now = numeric_date(world.now());
    for (members, expected) in [
        (json!({}), "ok"),
        (json!({ "iss": ISSUER, "token_type": "bearer", "sub": null }), "ok"),
        (json!({ "scope": null, "iat": null, "exp": now + 60 }), "ok"),
        (json!({ "active": false }), "introspection_inactive"),
        (json!({ "active": "true" }), "introspection_failed"),
        (json!({ "iss": "https://other.example" }), "issuer"),
        (json!({ "iss": 1 }), "issuer"),
        (json!({ "aud": null }), "malformed"),
        (json!({ "aud": "orders" }), "audience"),
        (json!({ "exp": null }), "malformed"),
        (json!({ "exp": now - 6, "iat": now - 60 }), "expired"),
        (json!({ "nbf": now + 6 }), "not_yet_valid"),
        (json!({ "iat": now + 6 }), "issued_in_future"),
        (json!({ "exp": now + 3601 }), "lifetime"),
        (json!({ "client_id": null }), "malformed"),
        (json!({ "client_id": "partner" }), "client"),
        (json!({ "token_type": "DPoP" }), "sender_constrained"),
        (json!({ "cnf": { "jkt": "x" } }), "sender_constrained"),
        (json!({ "jti": "gone" }), "revoked"),
    ] {
        world.revocations.revoke_token("gone", world.now());
        world.says(members.clone());
        assert_eq!(world.outcome(&world.scheme(), "opaque").await, expected, "{members}");
    }
}

#[tokio::test]
async fn rights_are_those_that_the_issuer_may_grant() {
    let world = World::start(None).await;
    let identity = world.ask(&world.scheme(), "opaque").await.unwrap();
    let asked = Asked::new("inventory", world.now());
    let call = crate::scheme::judge(identity, "introspection", &world.verifier, &asked).unwrap();
    assert_eq!((call.verified.client_id(), call.verified.issuer()), ("billing", ISSUER));
    assert_eq!(call.verified.scopes().collect::<Vec<_>>(), ["read"]);
    // A removed issuer is trusted no longer, cached or not.
    let scheme = world.scheme();
    assert_eq!(world.outcome(&scheme, "opaque").await, "ok");
    world.verifier.remove(ISSUER);
    assert_ne!(world.outcome(&scheme, "opaque").await, "ok");
    assert!(world.builder().build().is_err());
}

#[tokio::test]
async fn an_answer_is_cached_until_exp_or_the_limit() {
    let world = World::start(None).await;
    let scheme = world.scheme();
    let at = |seconds| world.clock.advance(Duration::from_secs(seconds));
    for (members, steps) in [
        // For a minute at the most; for an inactive token five seconds; and never past `exp`.
        (json!({}), &[(0, 1), (59, 1), (1, 2), (59, 2)][..]),
        (json!({ "active": false }), &[(60, 1), (4, 1), (1, 2)]),
    ] {
        world.says(members);
        let before = world.requests();
        for (wait, requests) in steps {
            at(*wait);
            let _ = world.outcome(&scheme, "opaque").await;
            assert_eq!(world.requests() - before, *requests, "{wait}");
        }
    }
    world.says(json!({ "exp": numeric_date(world.now()) + 20 }));
    let before = world.requests();
    for (wait, requests) in [(60, 1), (19, 2)] {
        at(wait);
        let _ = world.outcome(&scheme, "brief").await;
        assert_eq!(world.requests() - before, requests, "{wait}");
    }
    let none = world.builder().keep(Duration::ZERO).build().unwrap();
    let before = world.requests();
    for requests in 1..4 {
        let _ = world.outcome(&none, "opaque").await;
        assert_eq!(world.requests() - before, requests);
    }
}

#[tokio::test]
async fn calls_with_one_token_wait_for_one_request() {
    let world = Arc::new(World::start(Some(Semaphore::new(0))).await);
    let scheme = world.scheme();
    for callers in [10, 1_000] {
        let token = format!("token-of-{callers}");
        let calls: Vec<_> = (0..callers).map(|_| world.ask(&scheme, &token)).collect();
        let before = world.requests();
        let open = async {
            while world.requests() == before {
                tokio::task::yield_now().await;
            }
            world.endpoint.gate.as_ref().unwrap().add_permits(callers);
        };
        let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), open);
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!((world.requests() - before, scheme.0.in_flight_now()), (1, 0), "{callers}");
        let gate = world.endpoint.gate.as_ref().unwrap();
        gate.forget_permits(gate.available_permits());
    }
}

/// Callers that go away give their requests back.
#[tokio::test]
async fn requests_in_flight_are_bounded_and_given_back() {
    let world = World::start(Some(Semaphore::new(0))).await;
    let scheme = world.scheme();
    for round in 0..3 {
        let tokens: Vec<String> = (0..64).map(|n| format!("token-{round}-{n}")).collect();
        let mut calls: Vec<_> = tokens.iter().map(|token| Box::pin(world.ask(&scheme, token))).collect();
        for call in &mut calls {
            assert!(futures_util::poll!(call).is_pending());
        }
        assert_eq!(scheme.0.in_flight_now(), 64);
        let denied = world.ask(&scheme, "one-more").await.unwrap_err();
        assert_eq!(denied.label(), "introspection_busy");
        assert_eq!(denied.reason(), token_proto::token::v1::ErrorReason::TrustUnavailable);
        drop(calls);
        assert_eq!(scheme.0.in_flight_now(), 0);
    }
}

#[tokio::test]
async fn an_endpoint_that_fails_is_unavailable_and_named() {
    let world = World::start(None).await;
    let scheme = world.scheme();
    assert_eq!(world.outcome(&scheme, "cached").await, "ok");
    for (status, fault) in [(500, "500"), (401, "this service's own credential"), (404, "404"), (302, "302")] {
        *world.endpoint.status.lock().unwrap() = status;
        let denied = world.ask(&scheme, "opaque-secret").await.unwrap_err();
        assert_eq!(denied.reason(), token_proto::token::v1::ErrorReason::TrustUnavailable, "{status}");
        let text = denied.to_string();
        assert!(text.contains("/introspect") && text.contains(fault) && !text.contains("secret"), "{text}");
        // A failure is not cached, and a cached answer survives it.
        assert_eq!(world.outcome(&scheme, "cached").await, "ok");
    }
    *world.endpoint.status.lock().unwrap() = 200;
    assert_eq!(world.outcome(&scheme, "opaque-secret").await, "ok");
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let nowhere = Introspection::builder(&world.verifier, ISSUER, &format!("http://{closed}/introspect"));
    let nowhere = nowhere.client("inventory", "a-secret").build().unwrap();
    assert_eq!(world.outcome(&nowhere, "opaque").await, "introspection_failed");
}

#[tokio::test]
async fn the_service_authenticates_by_secret_or_key() {
    let world = World::start(None).await;
    let key = crate::signature::SigningKey::generate_pkcs8(crate::signature::Algorithm::Es256).unwrap();
    let key = crate::signature::SigningKey::from_der(crate::signature::Algorithm::Es256, &key).unwrap();
    let in_form = world.builder().secret_in(SecretIn::Form).build().unwrap();
    let by_key = world.builder().client("inventory", crate::source::PrivateKeyJwt::new(key, ISSUER)).build().unwrap();
    for (scheme, header, field) in [
        (world.scheme(), true, "token=opaque&token_type_hint=access_token"),
        (in_form, false, "client_id=inventory&client_secret=a-secret"),
        (by_key, false, "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"),
    ] {
        assert_eq!(world.outcome(&scheme, "opaque").await, "ok");
        let (authorization, form) = world.endpoint.forms.lock().unwrap().pop().unwrap();
        assert_eq!(authorization.starts_with("Basic "), header);
        assert!(form.starts_with("token=opaque&") && form.contains(field), "{form}");
    }
}

#[tokio::test]
async fn an_open_call_ends_once_its_token_is_inactive() {
    let world = World::start(None).await;
    let scheme = world.scheme();
    let identity = world.ask(&scheme, "opaque").await.unwrap();
    let asked = Asked::new("inventory", world.now());
    let call = crate::scheme::judge(identity, "introspection", &world.verifier, &asked).unwrap();
    let settled = || async {
        // The first look after the cached time asks, and the looks after it see the answer.
        assert_eq!(call.check_again(world.now()), Ok(()));
        while scheme.0.in_flight_now() > 0 {
            tokio::task::yield_now().await;
        }
        call.check_again(world.now()).err().map(|denied| denied.label())
    };
    world.clock.advance(Duration::from_secs(59));
    assert_eq!((settled().await, world.requests()), (None, 1));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!((settled().await, world.requests()), (None, 2));
    // An unreachable endpoint ends no call.
    *world.endpoint.status.lock().unwrap() = 500;
    world.clock.advance(Duration::from_secs(60));
    assert_eq!((settled().await, world.requests()), (None, 3));
    *world.endpoint.status.lock().unwrap() = 200;
    world.says(json!({ "active": false }));
    assert_eq!(settled().await, Some("introspection_inactive"));
}

#[tokio::test]
async fn a_token_that_is_too_long_is_not_asked_for() {
    let world = World::start(None).await;
    assert_eq!(world.outcome(&world.scheme(), &"x".repeat(32 * 1024 + 1)).await, "too_large");
    assert_eq!(world.requests(), 0);
    assert_eq!(world.outcome(&world.scheme(), &"x".repeat(32 * 1024)).await, "ok");
}

#[tokio::test]
async fn no_setting_prints_a_secret_or_a_token() {
    let world = World::start(None).await;
    let scheme = world.scheme();
    let identity = world.ask(&scheme, "opaque-token").await.unwrap();
    for printed in [format!("{scheme:?}"), format!("{:?}", world.builder()), format!("{identity:?}")] {
        assert!(!printed.contains("a-secret") && !printed.contains("opaque-token"), "{printed}");
    }
}
