//! A server does not start if its policy does not fit the served methods.

use super::{streams::upload, *};

fn faults(methods: &[MethodPolicy], services: &[&str]) -> Vec<String> {
    Policy::new(methods)
        .and_then(|policy| policy.serves(DESCRIPTORS, services))
        .map(|_| Vec::new())
        .unwrap_or_else(|error| error.faults().to_vec())
}

#[test]
fn a_policy_that_fits_is_accepted() {
    assert_eq!(faults(&policy(), &[SERVICE_NAME]), [""; 0]);
}

#[test]
fn a_served_method_without_a_policy_is_an_error() {
    let mut methods = policy();
    methods.retain(|method| !method.path.ends_with("/DeleteItem"));
    methods[0].access = Access::Undeclared;
    let faults = faults(&methods, &[SERVICE_NAME]);
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("/inventory.v1.InventoryService/DeleteItem"));
}

#[test]
fn a_policy_without_a_method_is_an_error() {
    let mut methods = policy();
    let mut sell = methods[0].clone();
    sell.path = "/inventory.v1.InventoryService/Sell".into();
    methods.push(sell);
    assert!(faults(&methods, &[SERVICE_NAME])[0].contains("/Sell"));
}

#[test]
fn a_method_that_is_of_another_kind_than_declared_is_an_error() {
    let kinds = [
        MethodKind::Unary,
        MethodKind::ServerStreaming,
        MethodKind::ClientStreaming,
        MethodKind::BidirectionalStreaming,
    ];
    for (declared, described) in kinds.into_iter().flat_map(|kind| kinds.map(|other| (kind, other))) {
        let outcome = upload(declared, Requirement::any_token(), described);
        assert_eq!(outcome.is_ok(), declared == described, "{declared:?} {described:?}");
    }
}

#[test]
fn a_service_that_is_not_described_is_an_error() {
    assert!(faults(&policy(), &[SERVICE_NAME, "shop.v1.Till"])[0].contains("shop.v1.Till"));
    assert!(Policy::new(&policy()).unwrap().serves(b"\xff", &[SERVICE_NAME]).is_err());
}

#[test]
fn contradictions_and_odd_paths_are_errors() {
    let mut twice = policy();
    let mut public = twice[0].clone();
    public.access = Access::Public;
    twice.push(public);
    assert!(Policy::new(&twice).is_err());
    for path in ["", "/", "/a", "a/b", "/a/b/c", "/a/b.c", "/a/*", "/a/b/", "/a//b", "/a/%62"] {
        let mut odd = policy()[0].clone();
        odd.path = path.into();
        assert!(Policy::new(&[odd]).is_err(), "{path}");
        assert!(Policy::new(&[]).unwrap().open(path).is_err(), "{path}");
    }
}

#[tokio::test]
async fn health_is_open_and_reflection_is_not_unless_opened() {
    let layer = |policy: Policy| {
        let policy = policy.unchecked(danger::UncheckedPolicy);
        let issuer = TestIssuer::new("https://issuer.example");
        let inner = tower::service_fn(|_: http::Request<axum::body::Body>| async {
            Ok::<_, std::convert::Infallible>(http::Response::new(axum::body::Body::empty()))
        });
        AuthorizationLayer::new(issuer.verifier(), policy).layer(inner)
    };
    const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let empty = || Policy::new(&[]).unwrap();
    for (policy, path, status) in [
        (empty(), "/grpc.health.v1.Health/Check", 200),
        (empty(), "/grpc.health.v1.Health/Watch", 200),
        (empty().without_public_health(), "/grpc.health.v1.Health/Check", 403),
        (empty().without_public_health().with_public_health(), "/grpc.health.v1.Health/Check", 200),
        (empty(), REFLECTION, 403),
        (empty().open(REFLECTION).unwrap(), REFLECTION, 200),
    ] {
        let request = http::Request::post(path).body(axum::body::Body::empty()).unwrap();
        assert_eq!(layer(policy).oneshot(request).await.unwrap().status(), status, "{path}");
    }
}

#[test]
fn what_any_table_says_of_health_checks_counts_instead_of_what_is_implied() {
    const HEALTH: &str = "/grpc.health.v1.Health/Check";
    let about = |path: &'static str, access: Access| {
        let MethodPolicy { audience, kind, .. } = policy()[0].clone();
        MethodPolicy::new(path.into(), audience, access, kind)
    };
    let guarded = || about(HEALTH, Access::Require(Requirement::any_token().with_all_scopes(["health.read"])));
    let empty = || Policy::new(&[]).unwrap();
    // In either order, and also where no table mentions them.
    for both in [Policy::new(&[guarded()]).unwrap().and(&policy()), Policy::new(&policy()).unwrap().and(&[guarded()])] {
        assert!(both.unwrap().scopes().contains("health.read"));
    }
    assert!(Policy::new(&policy()).unwrap().and(&[]).is_ok());
    assert!(Policy::new(&policy()).unwrap().and(&policy()).is_ok(), "alike is no contradiction");

    // A declaration is contradicted by a table or by the program.
    let open = || about(HEALTH, Access::Public);
    for said in [Policy::new(&[open()]), empty().and(&[open()]), empty().open(HEALTH), Ok(empty().with_public_health())]
    {
        let faults = said.unwrap().and(&[guarded()]).unwrap_err().faults().to_vec();
        assert_eq!(faults, [format!("{HEALTH}: is declared twice, with different policies")]);
    }
    assert!(empty().and(&[guarded(), open()]).is_err());
    let other = about("/inventory.v1.InventoryService/GetItem", Access::Public);
    assert!(Policy::new(&policy()).unwrap().and(&[other]).is_err());
}
