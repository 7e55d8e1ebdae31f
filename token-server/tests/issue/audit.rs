//! The audit of decisions: complete, and without secrets.

use std::{
    io,
    sync::{Arc, LazyLock, Mutex},
};

use serde_json::{Map, Value, json};
use token_issuer::limit::{Quota, QuotaMode};
use token_proto::token::v1;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{
    World,
    calls::{basic, form, grpc, message, message_of_orders, post, post_as_orders, send},
    world, world_with,
};
use crate::{
    assertion::{JWT_BEARER, good, sign},
    exchange::{ACCESS_TOKEN, ID_TOKEN, over_grpc},
    federation::{federated, request},
};

/// Keeps everything that is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    pub(crate) fn audit(&self) -> Vec<Map<String, Value>> {
        let events =
            self.text().lines().map(|line| serde_json::from_str::<Map<_, _>>(line).unwrap()).collect::<Vec<_>>();
        let audit = events.into_iter().filter(|event| event["target"] == "audit");
        audit.map(|event| event["fields"].as_object().unwrap().clone()).collect()
    }
}

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

/// A second dispatcher, alive as long as the program. With a single one, the first thread of an event decides
/// for all threads if it is recorded, and other tests' threads have no subscriber.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(tracing_subscriber::registry()));

pub(crate) fn capture() -> (Captured, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&SECOND);
    let captured = Captured::default();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(captured.clone()).finish();
    (captured, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn an_assertion_for_the_token_endpoint_is_logged_each_time() {
    let world = world().await;
    let (captured, _guard) = capture();
    for aud in ["https://issuer.example/oauth/token", "https://issuer.example/oauth/token", "https://issuer.example"] {
        let (header, mut claims) = good("with-older-library");
        claims["aud"] = json!(aud);
        let assertion = sign(&world.client_key, &(header, claims));
        let body =
            format!("grant_type=client_credentials&client_assertion_type={JWT_BEARER}&client_assertion={assertion}");
        assert_eq!(post(&world, &body).await.status, 200);
    }
    let named: Vec<_> = captured.audit().iter().map(|event| event.get("assertion_audience").cloned()).collect();
    assert_eq!(named, [Some(json!("token_endpoint")), Some(json!("token_endpoint")), None]);
    assert_eq!(captured.text().matches("accepted an assertion whose audience is the token endpoint").count(), 2);
}

#[tokio::test]
async fn each_decision_leaves_one_event() {
    let world = world().await;
    let (captured, _guard) = capture();
    let token = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap().into_inner().token.unwrap();
    post(&world, "grant_type=client_credentials&client_id=stranger&client_secret=x").await;
    post_as_orders(&world, "&scope=admin").await;
    post(&world, "not a request").await;

    let events = captured.audit();
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[0]["outcome"], "granted");
    assert_eq!(events[0]["client_id"], "orders");
    assert_eq!(events[0]["jti"], token.token_id);
    assert_eq!(events[0]["audience"], "inventory");
    assert_eq!(events[0]["scope"], "inventory.read");
    let refused: Vec<_> = events[1..].iter().map(|event| (&event["reason"], &event["client_id"])).collect();
    assert_eq!(refused[0].0, "CLIENT_AUTHENTICATION_FAILED");
    assert_eq!(refused[0].1, "stranger");
    assert_eq!(events[1]["detail"], "client_unknown");
    assert_eq!(refused[1].0, "INVALID_SCOPE");
    assert_eq!(refused[2].0, "INVALID_REQUEST");
    for event in &events {
        assert_eq!(event["operation"], "issue_token");
        assert!(event.contains_key("peer") && event.contains_key("request_id"));
    }
}

/// The next event names each token of the chain, so that the chain can be followed backwards.
#[tokio::test]
async fn each_hop_of_an_exchanged_token_is_on_record() {
    let world = world().await;
    let (captured, _guard) = capture();
    let mut request = message("caller", &world.secret);
    request.audiences = vec!["inventory".to_owned()];
    let own = grpc(&world).issue_token(request).await.unwrap().into_inner().token.unwrap();
    let mut token = own.clone();
    for client_id in ["exchanger", "second-exchanger"] {
        let subject = v1::SecurityToken {
            value: token.value,
            r#type: "urn:ietf:params:oauth:token-type:access_token".to_owned(),
        };
        let request = v1::ExchangeTokenRequest {
            client: message(client_id, &world.secret).client,
            subject: Some(subject),
            audiences: vec!["inventory".to_owned()],
            ..v1::ExchangeTokenRequest::default()
        };
        token = grpc(&world).exchange_token(request).await.unwrap().into_inner().token.unwrap();
    }
    let [issued, first, second] = captured.audit().try_into().unwrap();
    assert_eq!((&issued["client_id"], &issued["jti"]), (&json!("caller"), &json!(own.token_id)));
    assert_eq!(first["operation"], "exchange_token");
    assert_eq!((&first["client_id"], &first["subject"]), (&json!("exchanger"), &json!("caller")));
    assert_eq!((&first["subject_jti"], &first["act"]), (&issued["jti"], &json!(r#"{"sub":"exchanger"}"#)));
    assert_eq!((&second["client_id"], &second["subject"]), (&json!("second-exchanger"), &json!("caller")));
    assert_eq!((&second["subject_jti"], &second["jti"]), (&first["jti"], &json!(token.token_id)));
    assert_eq!(second["act"], r#"{"act":{"sub":"exchanger"},"sub":"second-exchanger"}"#);
}

#[tokio::test]
async fn an_exchange_leaves_every_hop_on_record_and_where_the_subject_comes_from() {
    let (world, provider) = federated(|_| ()).await;
    let (captured, _guard) = capture();
    let token = provider.token().claim("jti", "theirs").sign();
    let first = over_grpc(&world, request(&world, "exchanger", &token, ID_TOKEN)).await.unwrap();
    over_grpc(&world, request(&world, "second-exchanger", &first.value, ACCESS_TOKEN)).await.unwrap();
    let events = captured.audit();
    let of = |name: &str| events.iter().map(|event| event[name].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("operation"), ["exchange_token"; 2]);
    assert_eq!(of("subject"), ["corporate:alice"; 2]);
    assert_eq!(of("subject_issuer"), [provider.issuer(); 2]);
    assert_eq!(of("subject_jti"), ["theirs", &first.token_id]);
    assert_eq!(of("act"), [r#"{"sub":"exchanger"}"#, r#"{"act":{"sub":"exchanger"},"sub":"second-exchanger"}"#]);
    assert!(!captured.text().contains(&token));
}

#[tokio::test]
async fn what_is_beyond_a_quota_is_on_record_whether_it_is_refused_or_not() {
    for (mode, outcome, member, told) in [
        (QuotaMode::Observe, "granted", "quota", "exceeded"),
        (QuotaMode::Enforce, "refused", "detail", "client_quota"),
    ] {
        let world = world_with(|settings| settings.quota.default = Some(Quota { tokens: 1, mode })).await;
        let (captured, _guard) = capture();
        for _ in 0..2 {
            post_as_orders(&world, "").await;
        }
        let [within, beyond] = captured.audit().try_into().unwrap();
        assert_eq!((&within["outcome"], within.get("quota")), (&json!("granted"), None));
        assert_eq!((&beyond["outcome"], &beyond[member]), (&json!(outcome), &json!(told)));
    }
}

#[tokio::test]
async fn log_has_no_secret_and_no_token_in_any_outcome() {
    let world = world().await;
    let (captured, _guard) = capture();
    let mut sensitive = every_way_to_present(&world).await;
    sensitive.push(world.secret.clone());
    let log = captured.text();
    assert!(log.lines().count() > sensitive.len(), "nothing was logged");
    for secret in sensitive {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}

/// Sends valid and invalid requests. Returns the texts that must not be logged.
async fn every_way_to_present(world: &World) -> Vec<String> {
    let mut sensitive = Vec::new();
    let issued = grpc(world).issue_token(message_of_orders(world)).await.unwrap().into_inner();
    sensitive.push(issued.token.unwrap().value);
    let answer = post_as_orders(world, "").await;
    sensitive.push(answer.json()["access_token"].as_str().unwrap().to_owned());

    let wrong = "guessed-secret-value";
    let encoded = basic("orders", &world.secret).1;
    sensitive.extend([wrong.to_owned(), encoded.trim_start_matches("Basic ").to_owned()]);
    let _ = grpc(world).issue_token(message("orders", wrong)).await;
    send(world, form("grant_type=client_credentials", &[basic("orders", &world.secret)])).await;
    send(world, form("grant_type=client_credentials", &[basic("orders", wrong)])).await;
    send(world, form("grant_type=client_credentials&client_secret=guessed-secret-value", &[])).await;
    // Identifier and secret swapped.
    let swapped = format!("grant_type=client_credentials&client_secret=orders&client_id={}", world.secret);
    post(world, &swapped).await;
    post(world, &format!("grant_type={}", world.secret)).await;
    send(world, form("grant_type=client_credentials", &[(::http::header::AUTHORIZATION, format!("Bearer {wrong}"))]))
        .await;
    sensitive
}

/// The caller disconnects while its body is still being read.
#[tokio::test]
async fn an_unfinished_request_is_audited_as_abandoned() {
    let world = world().await;
    let (captured, _guard) = capture();
    for path in ["/oauth/token", "/oauth/introspect", "/oauth/revoke"] {
        let never_ending = http_body_util::StreamBody::new(futures_util::stream::pending::<
            Result<http_body::Frame<bytes::Bytes>, std::convert::Infallible>,
        >());
        let mut request = form("", &[]);
        *request.uri_mut() = path.parse().unwrap();
        *request.body_mut() = axum::body::Body::new(never_ending);
        let answered = Box::pin(send(&world, request));
        assert!(futures_util::FutureExt::now_or_never(answered).is_none(), "{path}");
    }
    let events = captured.audit();
    let told: Vec<_> = events.iter().map(|event| (&event["operation"], &event["outcome"])).collect();
    let abandoned = json!("abandoned");
    let operations = ["issue_token", "introspect_token", "revoke_token"].map(|operation| json!(operation));
    assert_eq!(told, operations.iter().map(|operation| (operation, &abandoned)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_refused_exchange_names_its_tokens_and_who_is_behind_them() {
    let world = world().await;
    let issue = async |id: &str| {
        let mut request = message(id, &world.secret);
        request.audiences = vec!["inventory".to_owned()];
        grpc(&world).issue_token(request).await.unwrap().into_inner().token.unwrap()
    };
    let (subject, actor) = (issue("caller").await, issue("short").await);
    let token = |value: &str| v1::SecurityToken { value: value.to_owned(), r#type: ACCESS_TOKEN.to_owned() };
    let exchange = |subject: &str, actor: &str, audience: &str| v1::ExchangeTokenRequest {
        actor: Some(token(actor)),
        audiences: vec![audience.to_owned()],
        ..crate::exchange::request(&world, "exchanger", subject)
    };
    let (captured, _guard) = capture();
    over_grpc(&world, exchange(&subject.value, &actor.value, "nowhere")).await.unwrap_err();
    let forged = format!("{}A", subject.value.trim_end_matches(|c| c != '.'));
    over_grpc(&world, exchange(&forged, &actor.value, "inventory")).await.unwrap_err();
    let [lacking, invalid] = captured.audit().try_into().unwrap();
    assert_eq!((&lacking["subject"], &lacking["subject_jti"]), (&json!("caller"), &json!(subject.token_id)));
    assert_eq!((&lacking["actor"], &lacking["actor_jti"]), (&json!("short"), &json!(actor.token_id)));
    assert_eq!((invalid.get("subject"), &invalid["subject_jti"]), (None, &json!(subject.token_id)));
    assert!(invalid["detail"].as_str().unwrap().starts_with("subject_token: "), "{invalid:?}");
}

#[tokio::test]
async fn a_refused_token_of_a_provider_is_on_record_with_check_and_claim() {
    let (world, provider) = federated(|_| ()).await;
    let (captured, _guard) = capture();
    for token in [
        provider.token().claim("tenant", "other"),
        provider.token().claim("sub", "bob"),
        provider.token().claim("aud", "https://other.example"),
    ] {
        over_grpc(&world, request(&world, "exchanger", &token.sign(), ID_TOKEN)).await.unwrap_err();
    }
    let details: Vec<_> = captured.audit().iter().map(|event| event["detail"].as_str().unwrap().to_owned()).collect();
    assert_eq!(details[0], r#"required_claims: tenant: "other", expected one of ["acme","acme-labs"]"#);
    assert!(details[1].starts_with(r#"subjects: sub: "bob", expected"#), "{}", details[1]);
    assert!(details[2].starts_with("audience: "), "{}", details[2]);
}

#[tokio::test]
async fn an_introspection_that_is_withheld_names_the_token() {
    let world = world().await;
    let token = grpc(&world).issue_token(message_of_orders(&world)).await.unwrap().into_inner().token.unwrap();
    let (captured, _guard) = capture();
    let mut question = form(&format!("token={}", token.value), &[basic("short", &world.secret)]);
    *question.uri_mut() = "/oauth/introspect".parse().unwrap();
    assert_eq!(send(&world, question).await.json()["active"], false);
    let [event] = captured.audit().try_into().unwrap();
    assert_eq!((&event["outcome"], &event["jti"]), (&json!("inactive"), &json!(token.token_id)));
    assert_eq!(event["detail"], "the client may not introspect this token");
}
