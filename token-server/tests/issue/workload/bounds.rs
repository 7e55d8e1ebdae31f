//! Lifetimes, single use, and the cost of finding a client.

use super::*;

#[tokio::test]
async fn the_new_token_never_outlives_a_shorter_assertion() {
    let platforms = platforms().await;
    let short = || platforms.pod().claim("exp", now() + 77);
    assert_eq!(platforms.granted("orders-pod", short).await["exp"], now() + 77);
    // A longer assertion leaves the usual lifetime.
    assert_eq!(platforms.granted("orders-pod", || platforms.pod()).await["exp"], now() + 300);
    let outliving = platforms_with(|[cluster, _]| {
        cluster.client_authentication = Some(ClientAuthenticationRules { tokens_may_outlive: true, ..rules() });
    });
    let outliving = outliving.await;
    outliving.register("orders-pod", pod_rule()).await;
    let short = || outliving.pod().claim("exp", now() + 77);
    assert_eq!(outliving.granted("orders-pod", short).await["exp"], now() + 300);
}

#[tokio::test]
async fn an_exchanged_token_never_outlives_the_clients_assertion() {
    use crate::exchange::{granted, request};
    let platforms = platforms().await;
    let world = &platforms.world;
    platforms.add("exchanger", &new(pod_rule())).await;
    let mut subject = crate::support::calls::message("caller", &world.secret);
    subject.audiences = vec!["inventory".to_owned()];
    let subject = grpc(world).issue_token(subject).await.unwrap().into_inner().token.unwrap().value;
    let exchange = request(world, "exchanger", &subject);
    assert_eq!(granted(world, exchange.clone()).await["exp"], now() + 300);
    let assertion = platforms.pod().claim("exp", now() + 40).sign();
    let assertion = v1::ClientAssertion { r#type: JWT_BEARER.to_owned(), value: assertion };
    let client = v1::ClientAuthentication {
        client_id: "exchanger".to_owned(),
        credential: Some(Credential::Assertion(assertion)),
    };
    let exchange = v1::ExchangeTokenRequest { client: Some(client), ..exchange };
    let token = crate::exchange::over_grpc(world, exchange).await.unwrap().value;
    assert_eq!(claims(world, &token)["exp"], now() + 40);
}

#[tokio::test]
async fn an_assertion_is_used_once_by_all_clients_together() {
    let platforms = platforms().await;
    platforms.register("nightly-ci", workflow_rule()).await;
    let world = &platforms.world;
    let (first, second) = (platforms.workflow().sign(), platforms.workflow().sign());
    assert!(http(world, "orders-ci", &first).await.is_ok());
    for client_id in ["orders-ci", "nightly-ci"] {
        assert_eq!(http(world, client_id, &first).await, Err(401));
        assert!(over_grpc(world, client_id, &first).await.is_err());
    }
    // A refused assertion is not used up.
    assert_eq!(http(world, "orders-pod", &second).await, Err(401));
    assert!(over_grpc(world, "nightly-ci", &second).await.is_ok());
    assert_eq!(http(world, "orders-ci", &second).await, Err(401));
}

/// The client with the shorter age is no way to make the other one forget.
#[tokio::test]
async fn a_used_assertion_is_remembered_for_the_longest_age() {
    let platforms = platforms_with(|_| ()).await;
    let short = FederatedIdentity { max_age: Some(Duration::from_secs(60)), ..workflow_rule() };
    platforms.register("short-ci", short).await;
    platforms.register("long-ci", workflow_rule()).await;
    let token = platforms.workflow().claim("exp", now() + 3000).sign();
    assert!(http(&platforms.world, "short-ci", &token).await.is_ok());
    platforms.world.clock.advance(Duration::from_secs(200));
    assert_eq!(http(&platforms.world, "long-ci", &token).await, Err(401));
}

#[tokio::test]
async fn an_assertion_is_used_again_only_where_the_rule_allows() {
    let platforms = platforms().await;
    let pod = platforms.pod().sign();
    for _ in 0..3 {
        assert!(http(&platforms.world, "orders-pod", &pod).await.is_ok());
    }
    platforms.granted("orders-pod", || platforms.pod().without_claim("jti")).await;
    platforms.register("careful-pod", FederatedIdentity { reuse: false, ..pod_rule() }).await;
    assert!(http(&platforms.world, "careful-pod", &pod).await.is_ok());
    assert_eq!(http(&platforms.world, "careful-pod", &pod).await, Err(401));
    platforms.refused("no jti", "careful-pod", || platforms.pod().without_claim("jti")).await;
    // Of two rules of a client that accept it, the one that allows reuse counts.
    platforms.add("careful-pod", &new(pod_rule())).await;
    assert!(http(&platforms.world, "careful-pod", &pod).await.is_ok());
}

#[tokio::test]
async fn a_rule_shortens_the_age_of_its_issuer_and_never_extends_it() {
    let platforms = platforms().await;
    let aged = |seconds: u64| platforms.pod().claim("iat", now() - seconds);
    let rule = |seconds| FederatedIdentity { max_age: Some(Duration::from_secs(seconds)), ..pod_rule() };
    platforms.register("young-pod", rule(60)).await;
    platforms.register("old-pod", rule(86_400)).await;
    platforms.granted("young-pod", || aged(70)).await;
    platforms.refused("older than the rule and the leeway", "young-pod", || aged(71)).await;
    platforms.granted("old-pod", || aged(3610)).await;
    platforms.refused("older than the issuer's limit", "old-pod", || aged(3611)).await;
}

/// Clients with other subjects of the same issuer cost nothing, and clients with the same subject a bounded
/// number of reads.
#[tokio::test]
async fn a_login_without_client_id_reads_no_other_client() {
    let mut costs = Vec::new();
    for others in [10, 1_000] {
        let platforms = platforms().await;
        for number in 0..others {
            let subject = SubjectMatch::Exactly(format!("system:serviceaccount:prod:other-{number}"));
            platforms.register(&format!("other-{number}"), identity(CLUSTER, subject)).await;
        }
        let reads = platforms.world.store.reads();
        assert!(http(&platforms.world, "", &platforms.pod().sign()).await.is_ok());
        costs.push(platforms.world.store.reads() - reads);
    }
    assert_eq!(costs, [2, 2], "one read of the index, and one of the client");
}

#[tokio::test]
async fn clients_with_one_subject_cost_a_bounded_number_of_reads() {
    let mut costs = Vec::new();
    for clients in [16, 20, 200] {
        let platforms = platforms_with(|_| ()).await;
        for number in 0..clients {
            platforms.register(&format!("same-{number}"), pod_rule()).await;
        }
        let reads = platforms.world.store.reads();
        assert_eq!(http(&platforms.world, "", &platforms.pod().sign()).await, Err(401));
        costs.push(platforms.world.store.reads() - reads);
        assert!(http(&platforms.world, "same-7", &platforms.pod().sign()).await.is_ok());
    }
    assert_eq!(costs, [17, 1, 1], "the index, and up to 16 clients");
}

#[tokio::test]
async fn an_unknown_client_costs_what_another_clients_name_costs() {
    let platforms = platforms().await;
    let mut costs = BTreeSet::new();
    let (steps, _guard) = crate::work::count();
    for client_id in ["orders-ci", "disabled", "stranger"] {
        platforms.world.registry.forget(&client_id.try_into().unwrap());
        let reads = platforms.world.store.reads();
        steps.take();
        assert_eq!(http(&platforms.world, client_id, &platforms.pod().sign()).await, Err(401), "{client_id}");
        costs.insert((steps.take(), platforms.world.store.reads() - reads));
    }
    let expected = ["decoding", "lookup", "signature_check"].map(str::to_owned).to_vec();
    assert_eq!(costs, BTreeSet::from([(expected, 1)]));
}
