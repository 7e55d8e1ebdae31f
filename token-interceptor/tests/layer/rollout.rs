//! A service with callers gets the layer, step by step: it observes first, and enforces one method after the
//! other.

use std::collections::BTreeMap;

use tokio_stream::iter;

use super::{recorder::Measured, *};

const GET: &str = "/inventory.v1.InventoryService/GetItem";
const DELETE: &str = "/inventory.v1.InventoryService/DeleteItem";
const LIST: &str = "/inventory.v1.InventoryService/ListItems";
const ELSEWHERE: &str = "/inventory.v1.InventoryService/Sell";

fn layer(issuer: &TestIssuer) -> AuthorizationLayer {
    let policy = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    AuthorizationLayer::new(issuer.verifier(), policy)
}

/// The extensions of the request as the handler sees them: the client, and the reason of the denial.
pub(crate) type Seen = Option<(Option<String>, Option<ErrorReason>)>;

/// Calls a method of a service behind `layer`. Returns `None` if the call does not reach the handler.
pub(crate) async fn call(layer: Option<&AuthorizationLayer>, path: &str, token: Option<&str>) -> Seen {
    let handler = tower::service_fn(|request: http::Request<Body>| async move {
        let client = request.extensions().get::<Caller>().map(|caller| caller.client_id().to_owned());
        let denied = request.extensions().get::<DeniedCall>().map(DeniedCall::reason);
        let mut response = http::Response::new(Body::empty());
        response.extensions_mut().insert((client, denied));
        Ok::<_, Infallible>(response)
    });
    let mut request = http::Request::post(path).body(Body::empty()).unwrap();
    if let Some(token) = token {
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    }
    let response = match layer {
        Some(layer) => layer.layer(handler).oneshot(request).await.unwrap().map(|_| ()),
        None => handler.oneshot(request).await.unwrap().map(|_| ()),
    };
    response.extensions().get::<(Option<String>, Option<ErrorReason>)>().cloned()
}

/// The counters of `calls`, without their name.
fn counted(calls: impl Future<Output = ()>) -> BTreeMap<String, u64> {
    let measured = Measured::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    metrics::with_local_recorder(&measured, || runtime.block_on(calls));
    let counts = measured.counts().into_iter();
    counts.map(|(name, count)| (name.trim_start_matches("token_decisions_total ").to_owned(), count)).collect()
}

fn row(outcome: &str, reason: &str, method: &str, count: u64) -> (String, u64) {
    (format!("outcome={outcome} reason={reason} method={method}"), count)
}

/// `orders` has a valid token from the start. `legacy` gets one, and `shop` the scope that it lacks.
#[test]
fn a_rollout_in_steps_refuses_no_valid_call() {
    let issuer = &TestIssuer::new("https://issuer.example");
    let token = |client: &str, scope: &str| issuer.token().client(client).scope(scope).sign();
    let (orders, legacy) = (token("orders", "inventory.read inventory.write"), token("legacy", "inventory.read"));
    let (shop, granted) = (token("shop", "inventory.read"), token("shop", "inventory.read inventory.write"));
    let (orders, legacy, shop, granted) = (&orders, &legacy, &shop, &granted);
    let all = |layer: Option<AuthorizationLayer>, calls: Vec<(&'static str, Option<String>)>| async move {
        for (path, token) in calls {
            let seen = call(layer.as_ref(), path, token.as_deref()).await;
            assert!(seen.is_some(), "{path}: a valid call is refused");
        }
    };
    let today =
        || vec![(GET, Some(orders.clone())), (GET, None), (DELETE, Some(orders.clone())), (DELETE, Some(shop.clone()))];

    // Nothing.
    assert!(counted(all(None, today())).is_empty());
    // Observing: the counters say that one client has no token and another lacks a scope.
    let observing = counted(all(Some(layer(issuer).observe()), today()));
    let expected = [
        row("allowed", "ok", GET, 1),
        row("allowed", "ok", DELETE, 1),
        row("would_deny", "credentials_missing", GET, 1),
        row("would_deny", "scope", DELETE, 1),
    ];
    assert_eq!(observing, expected.into());
    // `legacy` gets a token, so the first method is enforced. The other is observed.
    let some = || layer(issuer).observe_only(&[DELETE]).unwrap();
    let calls = vec![(GET, Some(orders.clone())), (GET, Some(legacy.clone())), (DELETE, Some(shop.clone()))];
    let half = counted(all(Some(some()), calls));
    assert_eq!(half, [row("allowed", "ok", GET, 2), row("would_deny", "scope", DELETE, 1)].into());
    let forged = format!("{orders}x");
    let refused = counted(async { assert_eq!(call(Some(&some()), GET, Some(&forged)).await, None) });
    assert_eq!(refused, [row("denied", "malformed", GET, 1)].into());
    // `shop` gets the scope, so every method is enforced.
    let calls = vec![(GET, Some(legacy.clone())), (DELETE, Some(orders.clone())), (DELETE, Some(granted.clone()))];
    let enforcing = counted(all(Some(layer(issuer)), calls));
    assert_eq!(enforcing, [row("allowed", "ok", GET, 1), row("allowed", "ok", DELETE, 2)].into());
    let refused = counted(async {
        for (path, token) in [(GET, None), (DELETE, Some(&**shop))] {
            assert_eq!(call(Some(&layer(issuer)), path, token).await, None, "{path}");
        }
    });
    assert_eq!(refused, [row("denied", "credentials_missing", GET, 1), row("denied", "scope", DELETE, 1)].into());
}

#[tokio::test]
async fn an_observed_request_has_the_denial_and_a_valid_caller() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = layer(&issuer).observe();
    let reader = issuer.token().client("shop").scope("inventory.read").sign();
    for (path, token, seen) in [
        (GET, Some(&*reader), (Some("shop".to_owned()), None)),
        (DELETE, Some(&*reader), (Some("shop".to_owned()), Some(ErrorReason::ScopeInsufficient))),
        (GET, Some("rubbish"), (None, Some(ErrorReason::TokenInvalid))),
        (GET, None, (None, Some(ErrorReason::CredentialsMissing))),
        (ELSEWHERE, Some(&*reader), (None, Some(ErrorReason::MethodNotDeclared))),
    ] {
        assert_eq!(call(Some(&layer), path, token).await, Some(seen), "{path} {token:?}");
    }
}

#[test]
fn paths_without_a_policy_share_one_label() {
    let issuer = TestIssuer::new("https://issuer.example");
    let (observing, some) = (layer(&issuer).observe(), layer(&issuer).observe_only(&["/inventory.v1.*"]).unwrap());
    let counts = counted(async {
        for path in [ELSEWHERE, "/a", "/b", "//inventory.v1.InventoryService/GetItem"] {
            assert!(call(Some(&observing), path, None).await.is_some(), "{path}");
            assert!(call(Some(&some), path, None).await.is_none(), "{path}");
        }
    });
    let unknown = |outcome| row(outcome, "method_not_declared", "unknown", 4);
    assert_eq!(counts, [unknown("would_deny"), unknown("denied")].into());
}

#[test]
fn only_named_methods_are_observed_and_the_last_names_count() {
    let issuer = TestIssuer::new("https://issuer.example");
    let named = |methods: &[&str]| layer(&issuer).observe().observe_only(methods);
    let faults = named(&["/inventory.v1.InventoryService/Get*", "/inventory.v1.Sell/*", ELSEWHERE]).unwrap_err();
    assert_eq!(faults.faults().len(), 2, "{faults}");
    let passes =
        |layer: AuthorizationLayer, path: &'static str| async move { call(Some(&layer), path, None).await.is_some() };
    counted(async {
        let service = ["/inventory.v1.InventoryService/*"];
        for (methods, path, observed) in [
            (&[DELETE][..], DELETE, true),
            (&[DELETE], GET, false),
            (&service, GET, true),
            (&service, DELETE, true),
            (&[], DELETE, false),
        ] {
            assert_eq!(passes(named(methods).unwrap(), path).await, observed, "{methods:?} {path}");
        }
        assert!(passes(named(&[]).unwrap().observe(), DELETE).await);
    });
}

#[test]
fn an_observed_stream_outlives_its_token_and_is_counted_once() {
    let issuer = &TestIssuer::new("https://issuer.example");
    let counts = counted(async {
        let handler = tower::service_fn(|_: http::Request<Body>| async {
            let frames = iter(0..5).throttle(Duration::from_secs(1));
            let frames = frames.map(|_| Ok::<_, Status>(Frame::data(Bytes::from_static(b"message"))));
            Ok::<_, Infallible>(http::Response::new(StreamBody::new(Box::pin(frames))))
        });
        let mut request = http::Request::post(LIST).body(Body::empty()).unwrap();
        let token = issuer.token().scope("inventory.read").expires_in(Duration::from_secs(60)).sign();
        request.headers_mut().insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        let service = layer(issuer).observe().layer(handler);
        let mut body = service.oneshot(request).await.unwrap().into_body();
        let mut messages = 0;
        while let Some(frame) = body.frame().await {
            assert!(frame.unwrap().is_data());
            messages += 1;
            issuer.clock().advance(Duration::from_secs(50));
        }
        assert_eq!(messages, 5);
    });
    assert_eq!(counts, [row("allowed", "ok", LIST, 1), row("would_deny", "expired", LIST, 1)].into());
}

#[tokio::test]
async fn observed_http_routes_let_every_request_pass() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token()).observe();
    assert_eq!(call(Some(&layer), "/report", None).await, Some((None, Some(ErrorReason::CredentialsMissing))));
}
