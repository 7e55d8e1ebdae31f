//! Platforms: rules that a platform calls unsafe are refused, and say why.

use token_issuer::identity_provider::Platform;

use super::*;
use crate::audit::capture;

async fn named() -> Platforms {
    platforms_with(|[cluster, github]| {
        cluster.platform = Some(Platform::Kubernetes);
        github.platform = Some(Platform::Github);
    })
    .await
}

#[tokio::test]
async fn an_unsafe_rule_is_not_registered_and_the_error_says_why() {
    let platforms = named().await;
    platforms.register("orders-pod", pod_rule()).await;
    platforms.register("orders-ci", workflow_rule()).await;
    platforms.granted("orders-pod", || platforms.pod()).await;
    platforms.granted("orders-ci", || platforms.workflow()).await;
    let by_name = identity(GITHUB, SubjectMatch::Exactly(WORKFLOW.to_owned()));
    let shared = SubjectMatch::Exactly("system:serviceaccount:prod:default".to_owned());
    let every_namespace = SubjectMatch::Prefix("system:serviceaccount:".to_owned());
    for (rule, field, why) in [
        (by_name, "claims", "/repository_id is required. A repository or an owner"),
        (with_claim(workflow_rule(), "/event_name", &["pull_request_target"]), "claims", "a stranger's pull request"),
        (FederatedIdentity { reuse: true, ..workflow_rule() }, "reuse", "a token that comes twice was copied"),
        (FederatedIdentity { subject: shared, ..pod_rule() }, "subject", "every pod"),
        (FederatedIdentity { subject: every_namespace, ..pod_rule() }, "subject_prefix", "every namespace"),
        (FederatedIdentity { reuse: false, ..pod_rule() }, "reuse", "the kubelet hands out one token"),
    ] {
        let by = Operator::local("test");
        let error =
            platforms.world.admin.add_credential(&by, "orders", &new(rule), None).await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("credential.federated_identity.{field}: ")), "{error}");
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn an_unsafe_rule_from_before_is_refused_at_the_login() {
    let unnamed = platforms_with(|_| ()).await;
    let by_name = identity(GITHUB, SubjectMatch::Exactly(WORKFLOW.to_owned()));
    unnamed.register("early-ci", by_name).await;
    unnamed.granted("early-ci", || unnamed.workflow()).await;
    let rule = unnamed.world.admin.get("early-ci").await.unwrap().credentials;
    let platforms = named().await;
    platforms.world.store.change("orders", |client| client.credentials.extend(rule));
    platforms.refused("by name alone", "orders", || platforms.workflow()).await;
    let (captured, _guard) = capture();
    http(&platforms.world, "orders", &platforms.workflow().sign()).await.unwrap_err();
    let [event] = captured.audit().try_into().unwrap();
    let detail = event["detail"].as_str().unwrap();
    assert!(detail.contains("unsafe rule: claims: /repository_id is required"), "{detail}");
}

#[tokio::test]
async fn a_strangers_workflow_and_a_shared_account_never_log_in() {
    let platforms = named().await;
    let mut any_event = workflow_rule();
    any_event.claims.remove("/event_name");
    platforms.register("any-ci", any_event).await;
    let namespace = SubjectMatch::Prefix("system:serviceaccount:prod:".to_owned());
    let mut any_pod = FederatedIdentity { subject: namespace, ..pod_rule() };
    any_pod.claims.clear();
    platforms.register("any-pod", any_pod).await;
    platforms.granted("any-ci", || platforms.workflow().claim("event_name", "schedule")).await;
    platforms.granted("any-pod", || platforms.pod()).await;
    let stranger = || platforms.workflow().claim("event_name", "pull_request_target");
    platforms.refused("pull_request_target", "any-ci", stranger).await;
    let shared = || platforms.pod().claim("sub", "system:serviceaccount:prod:default");
    platforms.refused("the default account", "any-pod", shared).await;
    let (captured, _guard) = capture();
    http(&platforms.world, "any-ci", &stranger().sign()).await.unwrap_err();
    let [event] = captured.audit().try_into().unwrap();
    assert!(event["detail"].as_str().unwrap().contains("platform: event_name pull_request_target"));
}
