//! The choice of the client and of the way to verify: by the claims, without trial and error.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};
use token_interceptor::{http_client::HttpClient, test_util::TestIssuer};

use super::*;
use crate::assertion::{good, sign};

/// Keycloak dies with "Multiple clients matches attributes".
#[tokio::test]
async fn one_workload_acts_as_the_client_that_it_names() {
    let platforms = platforms().await;
    platforms.register("billing-pod", pod_rule()).await;
    for client_id in ["orders-pod", "billing-pod"] {
        assert_eq!(platforms.granted(client_id, || platforms.pod()).await["sub"], client_id);
    }
    platforms.refused("two clients accept it", "", || platforms.pod()).await;
    platforms.world.admin.delete(&Operator::local("test"), "billing-pod", "", true).await.unwrap();
    assert_eq!(platforms.granted("", || platforms.pod()).await["sub"], "orders-pod");
}

#[tokio::test]
async fn a_disabled_client_makes_no_other_one_ambiguous() {
    let platforms = platforms().await;
    for number in 0..17 {
        platforms.register(&format!("former-{number}"), pod_rule()).await;
    }
    platforms.refused("many clients accept it", "", || platforms.pod()).await;
    for number in 0..17 {
        let id = format!("former-{number}");
        let draft = ClientDraft { client_id: id.clone(), disabled: true, ..ClientDraft::default() };
        let update = ClientUpdate { draft, fields: vec![ClientField::Disabled], ..ClientUpdate::default() };
        platforms.world.admin.update(&Operator::local("test"), &update).await.unwrap();
    }
    assert_eq!(platforms.granted("", || platforms.pod()).await["sub"], "orders-pod");
    platforms.refused("disabled", "former-1", || platforms.pod()).await;
    // A server of an older version disables a client, and leaves the index as it is.
    platforms.register("billing-pod", pod_rule()).await;
    platforms.world.store.change("billing-pod", |client| client.disabled = true);
    platforms.world.registry.forget(&"billing-pod".try_into().unwrap());
    assert_eq!(platforms.granted("", || platforms.pod()).await["sub"], "orders-pod");
}

#[tokio::test]
async fn the_one_client_whose_claims_match_is_found_unnamed() {
    let platforms = platforms().await;
    let staging = with_claim(workflow_rule(), "/event_name", &["schedule"]);
    platforms.register("nightly-ci", staging).await;
    let nightly = || platforms.workflow().claim("event_name", "schedule");
    assert_eq!(platforms.granted("", nightly).await["sub"], "nightly-ci");
    assert_eq!(platforms.granted("", || platforms.workflow()).await["sub"], "orders-ci");
}

#[tokio::test]
async fn a_client_has_several_identities_and_keeps_its_secret() {
    let platforms = platforms().await;
    platforms.add("orders", &new(pod_rule())).await;
    platforms.add("orders", &new(workflow_rule())).await;
    platforms.granted("orders", || platforms.pod()).await;
    platforms.granted("orders", || platforms.workflow()).await;
    assert_eq!(crate::support::calls::post_as_orders(&platforms.world, "").await.status, 200);
}

#[tokio::test]
async fn a_removed_or_expired_identity_or_client_is_refused() {
    let platforms = platforms().await;
    let expiring = NewCredential { expire_time: Some(start() + Duration::from_secs(60)), ..new(pod_rule()) };
    platforms.add("orders", &expiring).await;
    platforms.granted("orders", || platforms.pod()).await;
    platforms.world.clock.advance(Duration::from_secs(61));
    platforms.refused("expired", "orders", || platforms.pod()).await;
    let by = Operator::local("test");
    let id = platforms.world.admin.get("orders-ci").await.unwrap().credentials[0].id.clone();
    platforms.world.admin.remove_credential(&by, "orders-ci", &id, false).await.unwrap();
    for client_id in ["orders-ci", ""] {
        platforms.refused("removed", client_id, || platforms.workflow()).await;
    }
    platforms.world.store.change("orders-pod", |client| client.disabled = true);
    platforms.world.registry.forget(&"orders-pod".try_into().unwrap());
    for client_id in ["orders-pod", ""] {
        platforms.refused("disabled", client_id, || platforms.pod()).await;
    }
}

/// A service account's token and a client's own assertion have the same type. `iss` tells them apart.
#[tokio::test]
async fn the_issuer_claim_alone_chooses_between_key_and_identity() {
    let platforms = platforms().await;
    let (world, key) = (&platforms.world, &platforms.world.client_key);
    platforms.add("with-key", &new(pod_rule())).await;
    for client_id in ["", "with-key"] {
        assert!(over_grpc(world, client_id, &sign(key, &good("with-key"))).await.is_ok());
    }
    platforms.granted("with-key", || platforms.pod()).await;
    // The client's key cannot speak for the cluster, and the cluster's key cannot speak for the client.
    let by_client = || {
        let (header, mut claims) = good("with-key");
        (claims["iss"], claims["sub"]) = (CLUSTER.into(), POD.into());
        sign(key, &(header, claims))
    };
    platforms.refused_text("signed by the client", "with-key", by_client).await;
    let by_cluster = || {
        let token = platforms.pod().claim("iss", "with-key").claim("sub", "with-key").claim("aud", ISSUER);
        token.claim("exp", now() + 60)
    };
    platforms.refused("signed by the cluster", "with-key", by_cluster).await;
    // RFC 7521 section 4.2: `client_id` is the subject of the client's own assertion.
    platforms.refused_text("another client", "orders", || sign(key, &good("with-key"))).await;
}

/// The issuer that a token claims chooses configuration, and never an address to fetch from.
#[tokio::test]
async fn an_issuer_that_is_not_configured_is_never_fetched() {
    let platforms = platforms().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let stranger = TestIssuer::new(&issuer);
    let token = || {
        let keys = format!("{issuer}/keys");
        pod_of(&stranger).header("jku", keys.as_str()).header("x5u", keys.as_str())
    };
    for client_id in ["orders-pod", ""] {
        platforms.refused("an unknown issuer", client_id, token).await;
    }
    let trusted = || platforms.pod().header("jku", format!("{issuer}/keys")).header("kid", "x");
    platforms.refused("a key's address", "orders-pod", trusted).await;
    assert_eq!(connections.load(Ordering::SeqCst), 0);
}

/// A platform on loopback whose keys rotate, and which can be down.
struct Rotating {
    issuer: String,
    jwks: Arc<Mutex<String>>,
    down: Arc<AtomicBool>,
}

impl Rotating {
    async fn start(down: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (jwks, down) = (Arc::new(Mutex::new(String::new())), Arc::new(AtomicBool::new(down)));
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
        let (keys, is_down) = (Arc::clone(&jwks), Arc::clone(&down));
        let body = move || {
            let keys = keys.lock().unwrap().clone();
            if is_down.load(Ordering::Relaxed) { Err(StatusCode::BAD_GATEWAY) } else { Ok(keys) }
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async move || metadata))
            .route("/keys", get(async move || body()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, jwks, down }
    }

    async fn world(&self, signer: &TestIssuer) -> Platforms {
        *self.jwks.lock().unwrap() = signer.jwks();
        let platforms = platforms_with(|[cluster, _]| {
            cluster.issuer.clone_from(&self.issuer);
            cluster.keys = ProviderKeys::Discovery(HttpClient::builder().build().unwrap());
        });
        let platforms = platforms.await;
        platforms.register("orders-pod", FederatedIdentity { issuer: self.issuer.clone(), ..pod_rule() }).await;
        platforms
    }
}

/// Discovery at the time of configuration alone would go stale.
#[tokio::test]
async fn a_rotated_key_is_found_without_a_restart() {
    let platform = Rotating::start(false).await;
    let signer = TestIssuer::new(&platform.issuer);
    let platforms = platform.world(&signer).await;
    platforms.granted("orders-pod", || pod_of(&signer)).await;
    let rotated = signer.rotated();
    *platform.jwks.lock().unwrap() = rotated.jwks();
    platforms.granted("orders-pod", || pod_of(&rotated)).await;
}

#[tokio::test]
async fn an_unreachable_issuer_is_an_outage_and_never_a_pass() {
    let platform = Rotating::start(true).await;
    let signer = TestIssuer::new(&platform.issuer);
    let platforms = platform.world(&signer).await;
    assert!(platform.down.load(Ordering::Relaxed));
    assert_eq!(http(&platforms.world, "orders-pod", &pod_of(&signer).sign()).await, Err(503));
    let unavailable = (Code::Unavailable, "ISSUER_UNAVAILABLE".to_owned());
    assert_eq!(over_grpc(&platforms.world, "orders-pod", &pod_of(&signer).sign()).await, Err(unavailable));
}

#[tokio::test]
async fn an_unreachable_store_is_an_outage_and_never_a_pass() {
    let platforms = platforms().await;
    platforms.granted("orders-pod", || platforms.pod()).await;
    platforms.world.store.set_out_of_reach(true);
    // A client in memory is still served, if the request names it.
    assert!(http(&platforms.world, "orders-pod", &platforms.pod().sign()).await.is_ok());
    assert_eq!(http(&platforms.world, "", &platforms.pod().sign()).await, Err(503));
}

/// A client that registers itself names keys or a secret, and never an identity.
#[tokio::test]
async fn a_self_registered_client_keeps_what_an_operator_added() {
    use http::Method;

    use crate::support::registration::{manage, registered};
    let cluster = TestIssuer::new(CLUSTER);
    let federation = IdentityProviders::new(vec![provider(&cluster, true)]).unwrap();
    let world = world_with(|settings| {
        settings.federation = federation;
        settings.registration = true;
    });
    let world = world.await;
    let told = registered(&world, &json!({"scope": "inventory.read"})).await;
    let id = told["client_id"].as_str().unwrap();
    world.admin.add_credential(&Operator::local("test"), id, &new(pod_rule()), None).await.unwrap();
    let key: Value = serde_json::from_str(&world.client_key.public_jwk().to_json()).unwrap();
    let with_key = json!({
        "client_id": id, "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key]},
        "scope": "inventory.read",
    });
    let changed = manage(&world, Method::PUT, &told, &with_key).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!(changed["jwks"]["keys"].as_array().unwrap().len(), 1);
    assert!(http(&world, id, &pod_of(&cluster).sign()).await.is_ok());
    let with_secret = json!({"client_id": id, "scope": "inventory.read"});
    let back = manage(&world, Method::PUT, &changed, &with_secret).await.json();
    assert!(back.contains_key("client_secret"));
    assert!(http(&world, id, &pod_of(&cluster).sign()).await.is_ok());
    assert_eq!(world.admin.get(id).await.unwrap().credentials.len(), 2);
}
