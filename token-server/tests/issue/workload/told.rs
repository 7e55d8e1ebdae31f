//! The audit event of a login. The operator learns what came and what was configured, and the caller nothing.

use super::*;
use crate::audit::capture;

#[tokio::test]
async fn a_login_is_audited_with_the_workloads_identity() {
    let platforms = platforms().await;
    let (captured, _guard) = capture();
    let token = platforms.pod().claim("jti", "pod-token");
    http(&platforms.world, "", &token.sign()).await.unwrap();
    let [event] = captured.audit().try_into().unwrap();
    assert_eq!((&event["client_id"], &event["outcome"]), (&json!("orders-pod"), &json!("granted")));
    assert_eq!((&event["assertion_issuer"], &event["assertion_subject"]), (&json!(CLUSTER), &json!(POD)));
    assert_eq!(event["assertion_jti"], "pod-token");
    assert!(!captured.text().contains(&token.sign()));
}

#[tokio::test]
async fn a_refused_login_leaves_one_event_that_explains_it() {
    let platforms = platforms().await;
    platforms.register("billing-pod", pod_rule()).await;
    let pod = || platforms.pod();
    let workflow = || platforms.workflow();
    let used = workflow();
    http(&platforms.world, "orders-ci", &used.sign()).await.unwrap();
    let slashless = CLUSTER.trim_end_matches('/');
    for (client_id, token, expected) in [
        ("orders-pod", pod().claim("iss", slashless), vec![slashless, "expected", CLUSTER]),
        ("", pod().claim("iss", slashless), vec![slashless, "expected", CLUSTER]),
        ("orders-pod", pod().claim("sub", "system:x"), vec!["\"system:x\"", "credential", "sub: expected", POD]),
        (
            "orders-ci",
            workflow().claim("repository_id", "12"),
            vec!["/repository_id: \"12\", expected one of [\"11\"]"],
        ),
        ("orders-ci", workflow().without_claim("event_name"), vec!["/event_name: nothing, expected one of"]),
        ("orders-pod", pod().claim("aud", "https://x.example"), vec!["audience", "https://x.example", ISSUER]),
        ("orders-pod", pod().claim("aud", json!([ISSUER, "y"])), vec!["\"y\"", "alone"]),
        ("orders-pod", pod().claim("iat", now() - 4000), vec!["iat:", "at most 3600 seconds"]),
        ("orders-pod", pod().header("kid", "x"), vec!["key_unknown", "jwks_file, which a person must replace"]),
        ("orders-ci", workflow().without_claim("jti"), vec!["it has no jti", "set reuse"]),
        ("orders-ci", used, vec!["used before"]),
        ("orders", pod(), vec!["no client in question has a live credential for it"]),
        ("", pod(), vec!["several clients accept it", "client_id"]),
    ] {
        let (captured, _guard) = capture();
        assert_eq!(http(&platforms.world, client_id, &token.sign()).await, Err(401), "{expected:?}");
        let [event] = captured.audit().try_into().unwrap();
        let detail = event["detail"].as_str().unwrap();
        assert!(detail.starts_with("federated_identity_refused: iss: "), "{detail}");
        for text in expected {
            assert!(detail.contains(text), "{text}\nnot in\n{detail}");
        }
        assert_eq!(event["reason"], "CLIENT_AUTHENTICATION_FAILED");
        assert!(!captured.text().contains(&token.sign()));
    }
}

#[tokio::test]
async fn many_clients_with_one_subject_are_told_as_such() {
    let platforms = platforms_with(|_| ()).await;
    for number in 0..17 {
        platforms.register(&format!("same-{number}"), with_claim(pod_rule(), "/n", &["other"])).await;
    }
    let (captured, _guard) = capture();
    assert_eq!(http(&platforms.world, "", &platforms.pod().sign()).await, Err(401));
    let [event] = captured.audit().try_into().unwrap();
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("over 16 clients have a rule for its subject"), "{detail}");
    // None of them accepts it, and 16 are few enough to say so.
    platforms.world.admin.delete(&Operator::local("test"), "same-0", "", true).await.unwrap();
    let (captured, _guard) = capture();
    assert_eq!(http(&platforms.world, "", &platforms.pod().sign()).await, Err(401));
    let [event] = captured.audit().try_into().unwrap();
    assert!(event["detail"].as_str().unwrap().contains("no credential accepts it"), "{event:?}");
}

#[tokio::test]
async fn a_refusal_names_few_rules_and_hides_a_secret() {
    let platforms = platforms().await;
    for number in 0..10 {
        platforms.add("orders", &new(with_claim(pod_rule(), "/n", &[&number.to_string()]))).await;
    }
    let (captured, _guard) = capture();
    let secret = platforms.world.secret.as_str();
    for token in [platforms.pod(), platforms.pod().claim("sub", secret), platforms.pod().claim("iss", secret)] {
        assert_eq!(http(&platforms.world, "orders", &token.sign()).await, Err(401));
    }
    let events = captured.audit();
    let detail = events[0]["detail"].as_str().unwrap();
    assert_eq!(detail.matches("credential").count(), 5, "{detail}");
    assert!(detail.ends_with("and 6 more"), "{detail}");
    assert_eq!(events.len(), 3);
    assert!(!captured.text().contains(secret));
}
