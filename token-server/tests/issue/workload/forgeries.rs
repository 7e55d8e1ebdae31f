//! Near misses: each token fails one check, and the valid token beside it passes.

use serde_json::json;
use token_interceptor::{
    signature::{Algorithm, SigningKey},
    test_util::{TestIssuer, TokenBuilder},
};

use super::*;

#[tokio::test]
async fn each_near_miss_of_a_pods_token_is_refused() {
    let platforms = platforms().await;
    let pod = || platforms.pod();
    let uid = |uid: &str| json!({"namespace": "prod", "serviceaccount": {"name": "orders", "uid": uid}});
    let misses: Vec<(&str, TokenBuilder)> = vec![
        ("another service account", pod().claim("sub", "system:serviceaccount:prod:orders2")),
        ("another namespace", pod().claim("sub", "system:serviceaccount:dev:orders")),
        ("the default service account", pod().claim("sub", "system:serviceaccount:prod:default")),
        ("a subject in other letters", pod().claim("sub", "system:serviceaccount:prod:Orders")),
        ("no subject", pod().without_claim("sub")),
        ("an account that was created again", pod().claim("kubernetes.io", uid("other"))),
        ("a claim of another type", pod().claim("kubernetes.io", "sa-uid")),
        ("no claim at the pointer", pod().without_claim("kubernetes.io")),
        ("the issuer without its slash", pod().claim("iss", CLUSTER.trim_end_matches('/'))),
        ("an issuer that is not trusted", pod().claim("iss", "https://evil.example/")),
        ("another trusted issuer's name", pod().claim("iss", GITHUB)),
        ("no issuer", pod().without_claim("iss")),
        ("another audience", pod().claim("aud", json!(["https://kubernetes.default.svc"]))),
        ("our audience with a slash", pod().claim("aud", json!([format!("{ISSUER}/")]))),
        ("our token endpoint", pod().claim("aud", json!([format!("{ISSUER}/oauth/token")]))),
        ("a second audience", pod().claim("aud", json!([ISSUER, "https://other.example"]))),
        ("no audience", pod().without_claim("aud")),
        ("expired", pod().claim("iat", now() - 600).claim("exp", now() - 1)),
        ("expired within the leeway", pod().claim("iat", now() - 600).claim("exp", now())),
        ("issued too long ago", pod().claim("iat", now() - 3700).claim("exp", now() + 60)),
        ("no time of issue", pod().without_claim("iat")),
        ("issued in the future", pod().claim("iat", now() + 60)),
        ("not valid yet", pod().claim("nbf", now() + 60)),
        ("an access token's type", pod().header("typ", "at+jwt")),
        ("another type", pod().header("typ", "logout+jwt")),
        ("a key that is not published", pod().header("kid", "x")),
        ("another algorithm", pod().header("alg", "EdDSA")),
        ("no algorithm", pod().header("alg", "none")),
        ("a symmetric algorithm", pod().header("alg", "HS256")),
        ("an extension", pod().header("crit", json!(["x"]))),
        ("bound to a key", pod().claim("cnf", json!({"x5t#S256": "x"}))),
    ];
    for (what, token) in misses {
        platforms.refused(what, "orders-pod", || token.clone()).await;
        platforms.refused(what, "", || token.clone()).await;
    }
    let other = SigningKey::from_der(Algorithm::Es256, &SigningKey::generate_pkcs8(Algorithm::Es256).unwrap()).unwrap();
    platforms.refused_text("another key", "orders-pod", || pod().sign_with(&other)).await;
    let imposter = TestIssuer::new(CLUSTER);
    platforms.refused("another cluster of the same name", "orders-pod", || pod_of(&imposter)).await;
    platforms.refused("another client's name", "orders-ci", pod).await;
    platforms.refused("an unknown client's name", "stranger", pod).await;
    platforms.granted("orders-pod", pod).await;
}

/// A change of a valid token that makes it invalid.
type Miss = fn(TokenBuilder) -> TokenBuilder;

#[tokio::test]
async fn each_near_miss_of_a_workflows_token_is_refused() {
    let platforms = platforms().await;
    let workflow = || platforms.workflow();
    let misses: Vec<(&str, Miss)> = vec![
        ("a repository that was registered again", |token| token.claim("repository_id", "12")),
        ("an owner that was registered again", |token| token.claim("repository_owner_id", "23")),
        ("an ID of another type", |token| token.claim("repository_id", json!(["12"]))),
        ("no ID", |token| token.without_claim("repository_id")),
        ("a fork's pull request", |token| token.claim("event_name", "pull_request_target")),
        ("another repository", |token| token.claim("sub", "repo:acme/orders-2:ref:refs/heads/main")),
        ("another owner", |token| token.claim("sub", "repo:acme-2/orders:ref:refs/heads/main")),
        ("the prefix alone", |token| token.claim("sub", "repo:acme/orders:")),
        ("no type", |token| token.without_header("typ")),
        ("no jti", |token| token.without_claim("jti")),
        ("an empty jti", |token| token.claim("jti", "")),
    ];
    for (what, miss) in misses {
        platforms.refused(what, "orders-ci", || miss(workflow())).await;
    }
    // Another workflow of the repository has another subject, and the rule accepts the prefix.
    let tag = || workflow().claim("sub", "repo:acme/orders:environment:prod");
    assert_eq!(platforms.granted("", tag).await["sub"], "orders-ci");
}

/// An absent rule refuses. A file that is missing never means that every issuer is permitted.
#[tokio::test]
async fn without_a_rule_or_an_open_door_nothing_is_accepted() {
    let platforms = platforms().await;
    for client_id in ["orders", "with-key", "no-credentials", "nothing"] {
        platforms.refused(client_id, client_id, || platforms.pod()).await;
    }
    let closed = platforms_with(|[cluster, _]| cluster.client_authentication = None).await;
    let (by, late) = (Operator::local("test"), new(pod_rule()));
    let draft = ClientDraft { client_id: "late".to_owned(), ..ClientDraft::default() };
    let error = closed.world.admin.create(&by, &draft, &late, false).await.unwrap_err().to_string();
    assert!(error.contains("credential.federated_identity.issuer") && error.contains(GITHUB), "{error}");
    // The rule was registered while the door was open.
    let trusted = super::platforms().await;
    let rule = trusted.world.admin.get("orders-pod").await.unwrap().credentials;
    closed.world.store.change("orders", |client| client.credentials.extend(rule));
    closed.refused("a closed door", "orders", || closed.pod()).await;
}

#[tokio::test]
async fn a_claim_that_every_token_needs_is_checked_for_clients_too() {
    use token_issuer::identity_provider::RequiredClaim;
    let claim = || RequiredClaim { name: "enterprise".to_owned(), any_of: vec![json!("acme")] };
    let platforms = platforms_with(|[_, github]| github.required_claims = vec![claim()]).await;
    platforms.register("orders-ci", workflow_rule()).await;
    platforms.refused("no claim", "orders-ci", || platforms.workflow()).await;
    platforms.refused("another", "orders-ci", || platforms.workflow().claim("enterprise", "evil")).await;
    platforms.granted("orders-ci", || platforms.workflow().claim("enterprise", "acme")).await;
}
