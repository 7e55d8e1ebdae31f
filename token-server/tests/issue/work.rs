//! Every way to fail at client authentication takes the same steps: counted, not timed.
//!
//! RFC 6749 section 10.10. Each way is tried with many client IDs and credentials drawn by a seeded
//! generator, cold and warm; the sequences of costly steps (lookups, hashes, signature checks) and the reads
//! of the store are compared, over both protocols.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex},
};

use ::http::Method;
use serde_json::json;
use token_interceptor::signature::{Algorithm, SigningKey};
use token_issuer::{client::secret::ClientSecret, cost::TARGET, limit::Rate};
use token_proto::token::v1::{
    ClientAssertion, ExchangeTokenRequest, GetUserInfoRequest, IntrospectTokenRequest, RevokeTokenRequest,
    client_authentication::Credential,
};
use tonic::Code;
use tracing::field::{Field, Visit};
use tracing_subscriber::{
    layer::{Context, Layer, SubscriberExt as _},
    registry::Registry,
};

use crate::{
    assertion::{JWT_BEARER, good, sign},
    support::{
        IMPORTED, World,
        calls::{form, grpc, message, post, send},
        draw::Draw,
        registration::{registered, request},
        world, world_with, world_with_imported,
    },
};

/// Tries of each way to fail.
const TRIES: usize = 40;

/// The steps that were taken on this thread.
#[derive(Clone, Default)]
pub(crate) struct Steps(Arc<Mutex<Vec<String>>>);

impl Steps {
    /// Returns the steps since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl<S: tracing::Subscriber> Layer<S> for Steps {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            event.record(&mut Step(&mut self.0.lock().unwrap()));
        }
    }
}

struct Step<'a>(&'a mut Vec<String>);

impl Visit for Step<'_> {
    fn record_str(&mut self, _: &Field, step: &str) {
        self.0.push(step.to_owned());
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

/// A second dispatcher, as in `audit`. With a single one, other tests' threads would decide if events are
/// recorded.
static SECOND: LazyLock<tracing::Dispatch> = LazyLock::new(|| tracing::Dispatch::new(Registry::default()));

pub(crate) fn count() -> (Steps, tracing::subscriber::DefaultGuard) {
    LazyLock::force(&SECOND);
    let steps = Steps::default();
    (steps.clone(), tracing::subscriber::set_default(Registry::default().with(steps)))
}

/// Returns an unregistered client ID, rarely the same twice.
fn stranger(draw: &mut Draw) -> String {
    format!("stranger {}", draw.text(40))
}

/// The steps and the reads of the store of one rejected request.
type Cost = (Vec<String>, usize);
/// Every cost that occurred, by the attempt.
type Seen = BTreeMap<String, BTreeSet<Cost>>;

/// The credential that a client presents.
enum Proof<'a> {
    Secret(&'a str),
    Assertion(&'a str),
}

/// Sends one rejected request, over a protocol drawn at random.
async fn cost(world: &World, draw: &mut Draw, steps: &Steps, client_id: &str, proof: Proof<'_>) -> Cost {
    steps.take();
    let reads = world.store.reads();
    if draw.below(2) == 0 {
        over_http(world, client_id, &proof).await;
    } else {
        over_grpc(world, client_id, &proof).await;
    }
    (steps.take(), world.store.reads() - reads)
}

async fn over_http(world: &World, client_id: &str, proof: &Proof<'_>) {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials").append_pair("client_id", client_id);
    match proof {
        Proof::Secret(secret) => form.append_pair("client_secret", secret),
        Proof::Assertion(assertion) => {
            form.append_pair("client_assertion_type", JWT_BEARER).append_pair("client_assertion", assertion)
        }
    };
    let answer = post(world, &form.finish()).await;
    assert_eq!(answer.error(), (401, "invalid_client".to_owned()), "{client_id}");
}

async fn over_grpc(world: &World, client_id: &str, proof: &Proof<'_>) {
    let mut request = message(client_id, "");
    request.client.as_mut().unwrap().credential = Some(match proof {
        Proof::Secret(secret) => Credential::ClientSecret((*secret).to_owned()),
        Proof::Assertion(assertion) => {
            Credential::Assertion(ClientAssertion { r#type: JWT_BEARER.to_owned(), value: (*assertion).to_owned() })
        }
    });
    let status = grpc(world).issue_token(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated, "{client_id}");
}

/// A client that is not in memory is read once, even if it does not exist, and then costs no read. Each
/// request is decoded once, first.
fn expect_one_path(seen: &Seen, steps: &[&str]) {
    let steps: Vec<_> = ["decoding"].iter().chain(steps).map(|step| (*step).to_owned()).collect();
    for (way, costs) in seen {
        let reads = usize::from(way.starts_with("cold"));
        assert_eq!(*costs, BTreeSet::from([(steps.clone(), reads)]), "{way}");
    }
}

/// Registered clients that the secret does not fit, each for another reason, and an unknown one.
const CLAIMED: [Option<&str>; 7] = [
    Some("orders"),
    Some("disabled"),
    Some("expired"),
    Some("no-credentials"),
    Some("with-key"),
    Some("imported"),
    None,
];

/// Each of [`CLAIMED`] with wrong secrets, first when it is not in memory and then when it is.
async fn with_wrong_secrets(world: &World, tries: usize, secret: impl Fn(&mut Draw) -> String) -> Seen {
    let (steps, _guard) = count();
    let (mut draw, mut seen) = (Draw::seeded(6749), Seen::new());
    for _ in 0..tries {
        for claimed in CLAIMED {
            let client_id = claimed.map_or_else(|| stranger(&mut draw), str::to_owned);
            world.registry.forget(&client_id.as_str().try_into().unwrap());
            for warmth in ["cold", "warm"] {
                let secret = secret(&mut draw);
                let cost = cost(world, &mut draw, &steps, &client_id, Proof::Secret(&secret)).await;
                seen.entry(format!("{warmth} {claimed:?}")).or_default().insert(cost);
            }
        }
    }
    assert_eq!(seen.len(), 2 * CLAIMED.len());
    seen
}

fn own_form(_: &mut Draw) -> String {
    ClientSecret::generate().unwrap().expose().to_owned()
}

#[tokio::test]
async fn an_unknown_client_costs_what_a_wrong_secret_costs() {
    let world = world().await;
    // One keyed hash for each of two peppers.
    let steps = ["lookup", "keyed_hash", "keyed_hash"];
    expect_one_path(&with_wrong_secrets(&world, TRIES, own_form).await, &steps);
    expect_one_path(&with_wrong_secrets(&world, TRIES, |draw| draw.text(80)).await, &steps);
}

#[tokio::test]
async fn where_imported_secrets_are_accepted_everybodys_wrong_secret_costs_a_slow_hash() {
    let world = world_with_imported().await;
    let body = "grant_type=client_credentials&client_id=imported&client_secret=";
    let good = post(&world, &format!("{body}{}", IMPORTED.replace(' ', "+"))).await;
    assert_eq!(good.status, 200, "{good:?}");
    let steps = ["lookup", "keyed_hash", "keyed_hash", "slow_hash"];
    expect_one_path(&with_wrong_secrets(&world, 1, |draw| draw.text(80)).await, &steps);
    // A secret generated by this server is never an imported one.
    expect_one_path(&with_wrong_secrets(&world, TRIES, own_form).await, &steps[..3]);
    // The valid secret is cached, but only for its own client.
    let (steps, _guard) = count();
    let again = cost(&world, &mut Draw::seeded(1), &steps, "stranger", Proof::Secret(IMPORTED)).await;
    assert_eq!(again.0.last().map(String::as_str), Some("slow_hash"));
}

/// An assertion costs one signature check, with any claims and any algorithm.
#[tokio::test]
async fn a_bad_assertion_costs_the_same_for_everybody() {
    let world = world().await;
    let (steps, _guard) = count();
    let (mut draw, mut seen) = (Draw::seeded(7523), Seen::new());
    let algorithms = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    let keys = algorithms.map(|algorithm| {
        let key = SigningKey::from_der(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap();
        (algorithm, key)
    });
    let known = ["with-key", "expired-key", "disabled-with-key", "orders", "no-credentials"];
    for _ in 0..TRIES {
        for claimed in known.into_iter().map(Some).chain([None]) {
            let client_id = claimed.map_or_else(|| stranger(&mut draw), str::to_owned);
            world.registry.forget(&client_id.as_str().try_into().unwrap());
            for warmth in ["cold", "warm"] {
                let (algorithm, key) = &keys[draw.below(keys.len())];
                let (mut header, claims) = good(&client_id);
                header["alg"] = algorithm.name().into();
                let assertion = sign(key, &(header, claims));
                let cost = cost(&world, &mut draw, &steps, &client_id, Proof::Assertion(&assertion)).await;
                seen.entry(format!("{warmth} {claimed:?}")).or_default().insert(cost);
            }
        }
    }
    assert_eq!(seen.len(), 12);
    expect_one_path(&seen, &["lookup", "signature_check"]);
}

/// RFC 7592 section 2: registrations also reveal nothing about the clients that exist.
#[tokio::test]
async fn a_wrong_registration_access_token_costs_the_same_for_everybody() {
    let world = world_with(|settings| settings.registration = true).await;
    let registered = registered(&world, &json!({})).await;
    let (steps, _guard) = count();
    let (mut draw, mut seen) = (Draw::seeded(7592), BTreeSet::new());
    for _ in 0..TRIES {
        let unknown = format!("stranger-{}", draw.next());
        for client_id in [registered["client_id"].as_str().unwrap(), "orders", &unknown] {
            steps.0.lock().unwrap().clear();
            let (path, token) = (format!("/oauth/register/{client_id}"), own_form(&mut draw));
            let answer = send(&world, request(Method::GET, &path, &token, &json!({}))).await;
            assert_eq!(answer.error(), (401, "invalid_token".to_owned()));
            seen.insert(steps.0.lock().unwrap().clone());
        }
    }
    assert_eq!(seen, BTreeSet::from([vec!["lookup".to_owned(), "keyed_hash".to_owned()]]));
}

/// A peer over its limit causes no decoding, over either protocol and by any operation.
#[tokio::test]
async fn a_peer_over_its_limit_causes_no_work() {
    let world = world_with(|settings| {
        settings.limits.peer = Some(Rate::every(std::time::Duration::from_secs(3600), 1));
        settings.limits.keys_max = 10;
    })
    .await;
    let (steps, _guard) = count();
    post(&world, "grant_type=client_credentials&client_id=orders&client_secret=x").await;
    assert_eq!(steps.0.lock().unwrap().first().map(String::as_str), Some("decoding"), "the first is admitted");
    steps.0.lock().unwrap().clear();
    for path in ["/oauth/token", "/oauth/introspect", "/oauth/revoke"] {
        let body = "grant_type=client_credentials&client_id=orders&client_secret=x&token=x";
        let mut request = form(body, &[]);
        *request.uri_mut() = path.parse().unwrap();
        assert_eq!(send(&world, request).await.status, 429, "{path}");
    }
    let mut client = grpc(&world);
    let assertion = sign(&world.client_key, &good("with-key"));
    let credential = Credential::Assertion(ClientAssertion { r#type: JWT_BEARER.to_owned(), value: assertion });
    let mut request = message("with-key", "");
    request.client.as_mut().unwrap().credential = Some(credential);
    let authentication = request.client.clone();
    let limited = Code::ResourceExhausted;
    assert_eq!(client.issue_token(request).await.unwrap_err().code(), limited);
    let exchange = ExchangeTokenRequest { client: authentication.clone(), ..ExchangeTokenRequest::default() };
    assert_eq!(client.exchange_token(exchange).await.unwrap_err().code(), limited);
    let introspect = IntrospectTokenRequest { client: authentication.clone(), token: "x".to_owned() };
    assert_eq!(client.introspect_token(introspect).await.unwrap_err().code(), limited);
    let revoke = RevokeTokenRequest { client: authentication, token: "x".to_owned() };
    assert_eq!(client.revoke_token(revoke).await.unwrap_err().code(), limited);
    assert!(client.get_user_info(GetUserInfoRequest {}).await.is_err());
    assert_eq!(*steps.0.lock().unwrap(), [""; 0]);
}

/// A header or claims with ever more members are rejected by their length, before they are parsed.
#[tokio::test]
async fn members_without_end_cost_no_step() {
    let world = world().await;
    let (steps, _guard) = count();
    for (members, status) in [(2_000, 401), (100_000, 413)] {
        for in_header in [true, false] {
            let (mut header, mut claims) = good("with-key");
            let place = if in_header { &mut header } else { &mut claims };
            for number in 0..members {
                place[format!("m{number}")] = json!(number);
            }
            let assertion = sign(&world.client_key, &(header, claims));
            steps.0.lock().unwrap().clear();
            let reads = world.store.reads();
            let body = format!(
                "grant_type=client_credentials&client_assertion_type={JWT_BEARER}&client_assertion={assertion}"
            );
            assert_eq!(post(&world, &body).await.status, status, "{members}");
            let taken = steps.0.lock().unwrap().iter().filter(|step| *step != "decoding").count();
            assert_eq!((taken, world.store.reads()), (0, reads), "{members}");
        }
    }
}
