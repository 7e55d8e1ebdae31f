//! Rules beyond scopes: claims in the annotation, rules of the program's own, and the caller in axum.

use axum::response::IntoResponse as _;
use serde_json::{Value, json};
use token_interceptor::error::{Denied, Detail};

use super::{rollout::call, *};

/// The denial of a token with these claims, if it is denied.
async fn denied(requirement: Requirement, claims: &[(&str, Value)]) -> Option<DeniedCall> {
    let issuer = TestIssuer::new("https://issuer.example");
    let token = claims.iter().fold(issuer.token(), |token, (name, value)| token.claim(name, value.clone())).sign();
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", requirement);
    let router = Router::new().route("/", get(|| async {})).layer(layer);
    let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
    let answer = router.oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
    answer.extensions().get::<DeniedCall>().cloned()
}

#[tokio::test]
async fn a_claim_is_one_of_the_values_or_a_list_with_one() {
    for (claim, name, value, allowed) in [
        ("tenant", "tenant", json!("acme"), true),
        ("tenant", "tenant", json!("globex"), true),
        ("tenant", "tenant", json!("initech"), false),
        ("tenant", "tenant", json!(["initech", "acme"]), true),
        ("tenant", "tenant", json!([]), false),
        ("tenant", "tenant", json!(["initech", ["acme"]]), false),
        ("tenant", "tenant", json!({ "acme": "acme" }), false),
        ("tenant", "tenant", json!(true), false),
        ("tenant", "tenants", json!("acme"), false),
        ("/realm/roles", "realm", json!({ "roles": ["acme"] }), true),
        ("/realm/roles", "realm", json!({ "roles": "initech" }), false),
        ("/realm/roles", "realm", json!({ "role": "acme" }), false),
        ("/realm/roles", "/realm/roles", json!("acme"), false),
        ("/a~1b/0/~0", "a/b", json!([{ "~": "globex" }]), true),
        ("https://acme.example/tenant", "https://acme.example/tenant", json!("acme"), true),
    ] {
        let requirement = Requirement::any_token().with_claim(claim, ["acme", "globex"]);
        let denied = denied(requirement, &[(name, value.clone())]).await;
        assert_eq!(denied.is_none(), allowed, "{claim} {name} {value}");
        if let Some(denied) = denied {
            assert_eq!((denied.reason(), denied.detail()), (ErrorReason::CallerNotAllowed, "claim"));
            let member = denied.member().unwrap();
            assert_eq!((member.name(), member.expected()), (claim, r#"one of ["acme", "globex"]"#));
            assert!(!member.came().contains("initech"), "{member}");
        }
    }
}

#[tokio::test]
async fn every_claim_of_a_requirement_must_be_met() {
    let both = Requirement::any_token().with_claim("tenant", ["acme"]).with_claim("tier", ["gold"]);
    let (acme, gold) = (("tenant", json!("acme")), ("tier", json!("gold")));
    assert!(denied(both.clone(), &[acme.clone(), gold.clone()]).await.is_none());
    assert_eq!(denied(both.clone(), &[gold]).await.unwrap().member().map(Detail::name), Some("tenant"));
    assert_eq!(denied(both, &[acme]).await.unwrap().member().map(Detail::name), Some("tier"));
}

#[test]
fn a_policy_with_claims_that_cannot_be_met_is_an_error() {
    let mut methods = policy();
    let none: [&str; 0] = [];
    methods[0].access = Access::Require(Requirement::any_token().with_claim("tenant", none));
    let faults = Policy::new(&methods).unwrap_err().faults().to_vec();
    assert!(faults[0].contains(&*methods[0].path) && faults[0].contains("no allowed values"), "{faults:?}");
}

#[tokio::test]
async fn a_demand_with_a_faulty_claim_is_met_by_no_token() {
    for (claim, value) in [("scope", json!("shop.read")), ("/client_id", json!("shop")), ("appid", json!("shop"))] {
        let requirement = Requirement::any_token().with_claim(claim, ["shop.read", "shop"]);
        let denied = denied(requirement, &[(claim.trim_start_matches('/'), value)]).await.unwrap();
        let expected = denied.member().unwrap().expected();
        assert!(expected.contains("use "), "{claim}: {expected}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_claim_its_value_and_the_demand() {
    let read = || Requirement::all_of(["read"]);
    let old = Requirement::any_token().with_max_token_age(Duration::from_secs(60));
    let (scope, client, iat) = (("scope", json!("list")), ("client_id", json!("shop")), ("iat", json!(1_000)));
    for (requirement, claim, detail) in [
        (read(), &scope, r#"scope: "list", expected all of ["read"]"#),
        (read().with_any_scopes(["a", "b"]), &scope, r#"expected all of ["read"] and one of ["a", "b"]"#),
        (Requirement::any_token().with_any_scopes(["a"]), &scope, r#"scope: "list", expected one of ["a"]"#),
        (
            Requirement::any_token().with_callers(["batch-*"]),
            &client,
            r#"client_id: "shop", expected one of ["batch-*"]"#,
        ),
        (old, &iat, "iat: 1000, expected at least "),
    ] {
        let denied = denied(requirement, std::slice::from_ref(claim)).await.unwrap();
        assert!(denied.denied().to_string().contains(detail), "{}", denied.denied());
        assert!(denied.member().is_some());
    }
}

#[tokio::test]
async fn a_programs_rule_decides_after_the_policy() {
    const DELETE: &str = "/inventory.v1.InventoryService/DeleteItem";
    let issuer = TestIssuer::new("https://issuer.example");
    let policy = Policy::new(&policy()).unwrap().serves(DESCRIPTORS, &[SERVICE_NAME]).unwrap();
    let layer = AuthorizationLayer::new(issuer.verifier(), policy)
        .check(|caller, _| match caller.client_id() {
            "shop" => Ok(()),
            _ => Err(Denied::custom("client", "the shop alone may")),
        })
        .check(|_, parts| match parts.uri.path() {
            DELETE => Err(Denied::custom("delete", "no item may be deleted")),
            _ => Ok(()),
        });
    let get = DELETE.replace("Delete", "Get");
    let token = |client: &str, scope: &str| issuer.token().client(client).scope(scope).sign();
    let (shop, other) = (token("shop", "inventory.read inventory.write"), token("other", "inventory.write"));
    assert!(call(Some(&layer), &get, Some(&shop)).await.is_some());
    let observing = layer.clone().observe();
    for (path, token, rule) in [
        (DELETE, &shop, "delete"),
        (DELETE, &other, "client"),
        (&*get, &other, "scope"),
        (&*get, &token("shop", ""), "scope"),
    ] {
        let inner = tower::service_fn(|request: http::Request<Body>| async move {
            let mut response = http::Response::new(Body::empty());
            let observed = request.extensions().get::<DeniedCall>().map(DeniedCall::detail);
            assert!(request.extensions().get::<Caller>().is_some());
            response.extensions_mut().insert(observed);
            Ok::<_, Infallible>(response)
        });
        let request = || {
            let request = http::Request::post(path).header("authorization", format!("Bearer {token}"));
            request.body(Body::empty()).unwrap()
        };
        let answer = layer.layer(inner).oneshot(request()).await.unwrap();
        let denied = answer.extensions().get::<DeniedCall>().unwrap();
        assert_eq!((denied.detail(), answer.status()), (rule, StatusCode::FORBIDDEN), "{path}");
        assert!(denied.caller().is_some());
        let answer = observing.layer(inner).oneshot(request()).await.unwrap();
        assert_eq!(answer.extensions().get::<Option<&'static str>>(), Some(&Some(rule)), "{path}");
    }
}

#[tokio::test]
async fn the_caller_is_an_argument_of_axum_handlers() {
    let issuer = TestIssuer::new("https://issuer.example");
    let layer = AuthorizationLayer::requiring(issuer.verifier(), "inventory", Requirement::any_token());
    let known = get(|caller: Caller| async move { caller.client_id().to_owned() });
    let maybe =
        get(
            |caller: Option<Caller>| async move { caller.map_or_else(|| "-".to_owned(), |c| c.client_id().to_owned()) },
        );
    let own = get(|caller: Caller| async move {
        Err::<(), _>(Denied::custom("own", if caller.subject().is_empty() { "no subject" } else { "another's" }))
    });
    let routes =
        || Router::new().route("/known", known.clone()).route("/maybe", maybe.clone()).route("/own", own.clone());
    let (guarded, open) = (routes().layer(layer), routes());
    let token = issuer.token().client("shop").sign();
    for (router, path, status, body) in [
        (&guarded, "/known", 200, "shop"),
        (&guarded, "/maybe", 200, "shop"),
        (&guarded, "/own", 403, r#""rule":"own""#),
        (&open, "/known", 401, r#""reason":"CREDENTIALS_MISSING""#),
        (&open, "/maybe", 200, "-"),
    ] {
        let request = http::Request::get(path).header("authorization", format!("Bearer {token}"));
        let answer = router.clone().oneshot(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let text = to_bytes(answer.into_body(), 1000).await.unwrap();
        assert!(std::str::from_utf8(&text).unwrap().contains(body), "{path}: {text:?}");
    }
    assert_eq!(Denied::custom("a", "b").into_response().headers()["content-type"], "application/json");
}
