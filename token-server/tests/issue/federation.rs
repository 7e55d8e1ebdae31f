//! Tokens of identity providers, exchanged for ours: a provider on loopback, and for each check a token that
//! fails only that one. Over both protocols.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::get};
use serde_json::{Value, json};
use token_interceptor::{
    http_client::HttpClient,
    signature::{Algorithm, SigningKey},
    test_util::{TestIssuer, TokenBuilder},
};
use token_issuer::{
    admin::{ClientDraft, ClientField, ClientUpdate, NewCredential, Operator},
    identity_provider::{
        ExchangeRules, IdentityProvider, IdentityProviders, Namespace, Platform, ProviderKeys, RequiredClaim,
        SubjectRule,
    },
};
use token_proto::token::v1;
use tonic::Code;

use crate::{
    exchange::{ACCESS_TOKEN, ID_TOKEN, granted, over_grpc, over_http, refused},
    support::{ISSUER, World, world_with},
};

const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An identity provider: its metadata, its key, and its tokens.
pub(crate) struct Provider {
    signer: TestIssuer,
    down: Arc<AtomicBool>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (signer, down) = (TestIssuer::new(&issuer), Arc::new(AtomicBool::new(false)));
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
        let answer = |body: String| {
            let down = Arc::clone(&down);
            get(async move || if down.load(Ordering::Relaxed) { Err(StatusCode::BAD_GATEWAY) } else { Ok(body) })
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", answer(metadata))
            .route("/keys", answer(signer.jwks()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { signer, down }
    }

    pub(crate) fn issuer(&self) -> &str {
        self.signer.issuer()
    }

    /// An ID token for this issuer, about `alice` of `acme`.
    pub(crate) fn token(&self) -> TokenBuilder {
        let token = self.signer.token().header("typ", "JWT").without_claim("client_id").without_claim("jti");
        token.claim("sub", "alice").claim("aud", ISSUER).claim("tenant", "acme").claim("mfa", true)
    }

    /// The settings of a careful operator.
    pub(crate) fn trusted(&self, namespace: &str) -> IdentityProvider {
        let claim = |name: &str, any_of: Value| RequiredClaim {
            name: name.to_owned(),
            any_of: any_of.as_array().unwrap().clone(),
        };
        let exchange = ExchangeRules {
            clients: ["exchanger", "impersonator"].map(|id| id.try_into().unwrap()).into(),
            subjects: SubjectRule {
                exactly: ["alice".to_owned()].into(),
                prefixes: vec!["team:".to_owned()],
                any: false,
            },
            namespace: Namespace::parse(namespace).unwrap(),
            copied_claims: BTreeSet::new(),
            grants: None,
        };
        IdentityProvider {
            issuer: self.issuer().to_owned(),
            platform: None,
            audience: ISSUER.to_owned(),
            types: vec!["JWT".to_owned()],
            untyped: false,
            token_bytes: 32 * 1024,
            algorithms: vec![Algorithm::Es256],
            keys: ProviderKeys::Discovery(HttpClient::builder().build().unwrap()),
            required_claims: vec![claim("tenant", json!(["acme", "acme-labs"])), claim("mfa", json!([true]))],
            exchange: Some(Arc::new(exchange)),
            client_authentication: None,
        }
    }
}

/// The rules for the exchange of the provider's tokens.
fn exchange_of(provider: &mut IdentityProvider) -> &mut ExchangeRules {
    Arc::get_mut(provider.exchange.as_mut().unwrap()).unwrap()
}

/// One trusted provider, with a change to the settings of a careful operator.
pub(crate) async fn federated(change: impl FnOnce(&mut IdentityProvider)) -> (World, Provider) {
    let provider = Provider::start().await;
    let mut trusted = provider.trusted("corporate:{sub}");
    change(&mut trusted);
    let federation = IdentityProviders::new(vec![trusted]).unwrap();
    (world_with(|settings| settings.federation = federation).await, provider)
}

pub(crate) fn request(world: &World, client_id: &str, token: &str, kind: &str) -> v1::ExchangeTokenRequest {
    let subject = Some(v1::SecurityToken { value: token.to_owned(), r#type: kind.to_owned() });
    v1::ExchangeTokenRequest {
        subject,
        scopes: vec!["inventory.read".to_owned()],
        ..crate::exchange::request(world, client_id, "")
    }
}

async fn no_grant(world: &World, claim: &str, request: v1::ExchangeTokenRequest) {
    let http = over_http(world, &request).await;
    assert_eq!(http.error(), (400, "invalid_request".to_owned()), "{claim}");
    assert_eq!(http.json()["reason"], "INVALID_GRANT", "{claim}");
    let grpc = over_grpc(world, request).await.unwrap_err();
    assert_eq!(grpc, (Code::InvalidArgument, "INVALID_GRANT".to_owned()), "{claim}");
}

#[tokio::test]
async fn a_providers_token_is_read_up_to_the_length_of_its_setting() {
    for (token_bytes, read) in [(32 * 1024, true), (8 * 1024, false)] {
        let (world, provider) = federated(|trusted| trusted.token_bytes = token_bytes).await;
        // The number that Entra ID writes.
        let groups = vec!["3f2504e0-4f89-11d3-9a0c-0305e82c3301"; 200];
        let token = provider.token().claim("groups", json!(groups)).sign();
        let request = request(&world, "exchanger", &token, JWT);
        if read {
            assert_eq!(granted(&world, request).await["sub"], "corporate:alice");
        } else {
            no_grant(&world, "groups", request).await;
        }
    }
}

/// The platform's own rules hold for every use of its tokens.
#[tokio::test]
async fn a_token_that_its_platform_calls_unsafe_is_not_exchanged() {
    let (world, provider) = federated(|trusted| trusted.platform = Some(Platform::Github)).await;
    let workflow = |event: &str| provider.token().claim("event_name", event).sign();
    granted(&world, request(&world, "exchanger", &workflow("push"), JWT)).await;
    no_grant(&world, "event_name", request(&world, "exchanger", &workflow("pull_request_target"), JWT)).await;
}

#[tokio::test]
async fn rfc_8693_section_2_1_a_token_of_a_trusted_identity_provider_is_exchanged() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().sign();
    for kind in [ID_TOKEN, JWT] {
        let claims = granted(&world, request(&world, "exchanger", &token, kind)).await;
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["sub"], "corporate:alice");
        assert_eq!(claims["client_id"], "exchanger");
        assert_eq!(claims["act"], json!({"sub": "exchanger"}));
        assert_eq!(claims["scope"], "inventory.read");
        assert!(!claims.contains_key("tenant"), "only claims that the operator names go on");
    }
    let team = provider.token().claim("sub", "team:payments").sign();
    let claims = granted(&world, request(&world, "exchanger", &team, JWT)).await;
    assert_eq!(claims["sub"], "corporate:team:payments");
}

#[tokio::test]
async fn rfc_9493_section_3_2_2_sub_id_tells_where_the_subject_comes_from_at_every_hop() {
    let (world, provider) = federated(|_| ()).await;
    let first = over_grpc(&world, request(&world, "exchanger", &provider.token().sign(), ID_TOKEN)).await.unwrap();
    let second = request(&world, "second-exchanger", &first.value, ACCESS_TOKEN);
    let claims = granted(&world, second).await;
    let from = json!({"format": "iss_sub", "iss": provider.issuer(), "sub": "alice"});
    assert_eq!((&claims["sub"], &claims["sub_id"]), (&json!("corporate:alice"), &from));
    assert_eq!(claims["act"], json!({"sub": "second-exchanger", "act": {"sub": "exchanger"}}));
}

#[tokio::test]
async fn a_token_that_fails_one_check_is_not_exchanged() {
    let (world, provider) = federated(|_| ()).await;
    let stranger = Provider::start().await;
    let now = || provider.token();
    let iat = world_seconds();
    for (claim, token) in [
        ("an issuer that is not trusted", stranger.token()),
        ("a trusted issuer's name, another's key", stranger.token().claim("iss", provider.issuer())),
        ("another audience", now().claim("aud", "https://other.example")),
        ("no audience", now().without_claim("aud")),
        ("another subject", now().claim("sub", "bob")),
        ("a subject that only begins alike", now().claim("sub", "alice2")),
        ("no subject", now().without_claim("sub")),
        ("a required claim is missing", now().without_claim("tenant")),
        ("a required claim has another value", now().claim("tenant", "other")),
        ("a required claim has another type", now().claim("mfa", "true")),
        ("the other required claim is missing", now().without_claim("mfa")),
        ("expired", now().claim("iat", iat - 600).claim("exp", iat - 1)),
        ("expired within the leeway", now().claim("iat", iat - 600).claim("exp", iat)),
        ("not valid yet", now().claim("nbf", iat + 600)),
        ("an access token's type", now().header("typ", "at+jwt")),
        ("no type", now().without_header("typ")),
        ("an algorithm that is not allowed", now().header("alg", "EdDSA")),
        ("a key that is not published", now().header("kid", "x")),
        ("bound to a key", now().claim("cnf", json!({"jkt": "x"}))),
    ] {
        no_grant(&world, claim, request(&world, "exchanger", &token.sign(), ID_TOKEN)).await;
    }
    let other = SigningKey::from_der(Algorithm::Es256, &SigningKey::generate_pkcs8(Algorithm::Es256).unwrap()).unwrap();
    let forged = provider.token().sign_with(&other);
    no_grant(&world, "another key", request(&world, "exchanger", &forged, ID_TOKEN)).await;
    // The token that all of them derive from is valid.
    granted(&world, request(&world, "exchanger", &provider.token().sign(), ID_TOKEN)).await;
}

fn world_seconds() -> u64 {
    crate::support::start().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test]
async fn only_a_client_that_is_named_exchanges_a_providers_tokens() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().sign();
    no_grant(&world, "another client", request(&world, "second-exchanger", &token, ID_TOKEN)).await;
    let no_client = federated(|provider| exchange_of(provider).clients.clear()).await;
    let token = no_client.1.token().sign();
    no_grant(&no_client.0, "no client is named", request(&no_client.0, "exchanger", &token, ID_TOKEN)).await;
}

#[tokio::test]
async fn a_token_is_what_it_is_said_to_be() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().sign();
    no_grant(&world, "no access token of ours", request(&world, "exchanger", &token, ACCESS_TOKEN)).await;
}

#[tokio::test]
async fn openid_connect_core_section_3_1_3_7_an_id_token_for_several_audiences_names_us_as_its_party() {
    let (world, provider) = federated(|_| ()).await;
    let several = || provider.token().claim("aud", json!([ISSUER, "https://other.example"]));
    for token in [several(), several().claim("azp", "https://other.example"), several().claim("azp", 1)] {
        no_grant(&world, "azp", request(&world, "exchanger", &token.sign(), ID_TOKEN)).await;
    }
    for kind in [ID_TOKEN, JWT] {
        granted(&world, request(&world, "exchanger", &several().claim("azp", ISSUER).sign(), kind)).await;
    }
}

/// The client chooses the token type, so the type must not get a token past the check.
#[tokio::test]
async fn a_jwt_for_several_audiences_that_was_issued_to_another_party_is_refused_like_an_id_token() {
    let (world, provider) = federated(|_| ()).await;
    let several = || provider.token().claim("aud", json!([ISSUER, "https://other.example"]));
    for token in [several().claim("azp", "https://other.example"), several().claim("azp", 1)] {
        no_grant(&world, "azp", request(&world, "exchanger", &token.sign(), JWT)).await;
    }
    // Only ID tokens must name their party. In a token for us alone, the requesting application does not
    // matter.
    let alone = provider.token().claim("azp", "https://app.example");
    for good in [several(), alone] {
        granted(&world, request(&world, "exchanger", &good.sign(), JWT)).await;
    }
}

/// An unknown validity is not an invalid token.
#[tokio::test]
async fn a_provider_that_is_out_of_reach_is_our_failure_and_not_the_tokens() {
    let provider = Provider::start().await;
    provider.down.store(true, Ordering::Relaxed);
    let federation = IdentityProviders::new(vec![provider.trusted("corporate:{sub}")]).unwrap();
    let world = world_with(|settings| settings.federation = federation).await;
    let request = request(&world, "exchanger", &provider.token().sign(), ID_TOKEN);
    let http = over_http(&world, &request).await;
    assert_eq!(http.error(), (503, "temporarily_unavailable".to_owned()));
    assert!(http.header("retry-after").is_some());
    let unavailable = (Code::Unavailable, "ISSUER_UNAVAILABLE".to_owned());
    assert_eq!(over_grpc(&world, request).await.unwrap_err(), unavailable);
}

#[tokio::test]
async fn the_new_token_never_outlives_a_providers_token() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().claim("exp", world_seconds() + 77).sign();
    let lifetime = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let asked = v1::ExchangeTokenRequest { lifetime, ..request(&world, "exchanger", &token, ID_TOKEN) };
    assert_eq!(granted(&world, asked).await["exp"], world_seconds() + 77);
    world.clock.advance(Duration::from_secs(78));
    no_grant(&world, "expired meanwhile", request(&world, "exchanger", &token, ID_TOKEN)).await;
}

#[tokio::test]
async fn subjects_of_different_providers_never_have_one_name() {
    let (one, two) = (Provider::start().await, Provider::start().await);
    let federation = IdentityProviders::new(vec![one.trusted("one:{sub}"), two.trusted("two:{sub}")]).unwrap();
    let world = world_with(|settings| settings.federation = federation).await;
    let mut names = Vec::new();
    for provider in [&one, &two] {
        let claims = granted(&world, request(&world, "exchanger", &provider.token().sign(), ID_TOKEN)).await;
        names.push(claims["sub"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, ["one:alice", "two:alice"]);
}

#[tokio::test]
async fn a_subject_with_the_name_of_a_client_is_refused() {
    let (world, provider) =
        federated(|provider| exchange_of(provider).namespace = Namespace::parse("with-{sub}").unwrap()).await;
    let token = provider.token().claim("sub", "team:x").sign();
    granted(&world, request(&world, "exchanger", &token, JWT)).await;
    let (world, provider) = federated(|provider| {
        exchange_of(provider).namespace = Namespace::parse("with-{sub}").unwrap();
        exchange_of(provider).subjects.any = true;
    })
    .await;
    let token = provider.token().claim("sub", "claims").sign();
    no_grant(&world, "the client with-claims", request(&world, "exchanger", &token, JWT)).await;
}

#[tokio::test]
async fn rfc_8693_section_4_4_may_act_of_a_providers_token_is_honoured() {
    let (world, provider) = federated(|_| ()).await;
    let with = |may_act: Value| {
        let token = provider.token().claim("may_act", may_act).sign();
        request(&world, "exchanger", &token, ID_TOKEN)
    };
    let claims = granted(&world, with(json!({"iss": ISSUER, "sub": "exchanger"}))).await;
    assert_eq!(claims["act"], json!({"sub": "exchanger"}));
    for (claim, may_act) in [
        ("another of our clients", json!({"iss": ISSUER, "sub": "orders"})),
        ("one of the provider's own, of the same name", json!({"sub": "exchanger"})),
        ("no subject", json!({"iss": ISSUER})),
        ("not an object", json!("exchanger")),
        ("a mistyped issuer", json!({"iss": 1, "sub": "exchanger"})),
    ] {
        no_grant(&world, claim, with(may_act)).await;
    }
    // The provider's own actor, by an actor token of the provider.
    let actor = provider.token().claim("sub", "team:payments").sign();
    let actor = Some(v1::SecurityToken { value: actor, r#type: JWT.to_owned() });
    let own = v1::ExchangeTokenRequest { actor, ..with(json!({"sub": "team:payments"})) };
    assert_eq!(
        granted(&world, own).await["act"],
        json!({"sub": "exchanger", "act": {"sub": "corporate:team:payments"}})
    );
    // The named client may act, and stays in `act` even by impersonation.
    let token = provider.token().claim("may_act", json!({"iss": ISSUER, "sub": "impersonator"})).sign();
    no_grant(&world, "impersonation", request(&world, "impersonator", &token, ID_TOKEN)).await;
}

#[tokio::test]
async fn a_providers_subject_is_impersonated_only_where_the_client_may() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().sign();
    let claims = granted(&world, request(&world, "impersonator", &token, ID_TOKEN)).await;
    assert_eq!(claims["sub"], "corporate:alice");
    assert!(!claims.contains_key("act"));
    assert!(granted(&world, request(&world, "exchanger", &token, ID_TOKEN)).await.contains_key("act"));
}

#[tokio::test]
async fn actors_that_a_provider_names_are_none_of_our_clients() {
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().claim("act", json!({"sub": "orders", "act": {"sub": "inventory"}})).sign();
    let before = json!({"sub": "corporate:orders", "act": {"sub": "corporate:inventory"}});
    let claims = granted(&world, request(&world, "exchanger", &token, ID_TOKEN)).await;
    assert_eq!(claims["act"], json!({"sub": "exchanger", "act": before}));
    let claims = granted(&world, request(&world, "impersonator", &token, ID_TOKEN)).await;
    assert_eq!(claims["act"], before);
}

#[tokio::test]
async fn scopes_and_audiences_are_those_of_the_client_and_narrowed_by_the_providers_grants() {
    let asking = |world: &World, token: &str, audience: &str, scope: &str| v1::ExchangeTokenRequest {
        audiences: vec![audience.to_owned()],
        scopes: vec![scope.to_owned()],
        ..request(world, "exchanger", token, ID_TOKEN)
    };
    let (world, provider) = federated(|_| ()).await;
    let token = provider.token().sign();
    granted(&world, asking(&world, &token, "billing", "billing.read")).await;
    let beyond = asking(&world, &token, "ledger", "ledger.read");
    refused(&world, beyond, Code::InvalidArgument, "INVALID_TARGET", (400, "invalid_target")).await;
    let beyond = asking(&world, &token, "billing", "billing.write");
    refused(&world, beyond, Code::InvalidArgument, "INVALID_SCOPE", (400, "invalid_scope")).await;

    let grants: BTreeMap<_, BTreeSet<_>> =
        [("inventory".try_into().unwrap(), ["inventory.read".try_into().unwrap()].into())].into();
    let (world, provider) = federated(|provider| exchange_of(provider).grants = Some(grants)).await;
    let token = provider.token().sign();
    granted(&world, asking(&world, &token, "inventory", "inventory.read")).await;
    let beyond = asking(&world, &token, "inventory", "inventory.write");
    refused(&world, beyond, Code::InvalidArgument, "INVALID_SCOPE", (400, "invalid_scope")).await;
    let beyond = asking(&world, &token, "billing", "billing.read");
    refused(&world, beyond, Code::InvalidArgument, "INVALID_TARGET", (400, "invalid_target")).await;
}

#[tokio::test]
async fn at_the_next_hop_a_providers_subject_has_what_the_operator_grants_it_and_nothing_else() {
    let hop = async |grants: Option<BTreeMap<_, _>>| {
        let (world, provider) = federated(|provider| exchange_of(provider).grants = grants).await;
        let token = provider.token().sign();
        let first = over_grpc(&world, request(&world, "exchanger", &token, ID_TOKEN)).await.unwrap();
        let next = v1::ExchangeTokenRequest {
            audiences: vec!["warehouse".to_owned()],
            scopes: vec!["warehouse.read".to_owned()],
            ..request(&world, "exchanger", &first.value, ACCESS_TOKEN)
        };
        (world, next)
    };
    let (world, next) = hop(None).await;
    refused(&world, next, Code::InvalidArgument, "INVALID_TARGET", (400, "invalid_target")).await;
    let grant =
        |audience: &str, scope: &str| (audience.try_into().unwrap(), BTreeSet::from([scope.try_into().unwrap()]));
    let grants = [grant("inventory", "inventory.read"), grant("warehouse", "warehouse.read")].into();
    let (world, next) = hop(Some(grants)).await;
    assert_eq!(granted(&world, next).await["sub"], "corporate:alice");
}

#[tokio::test]
async fn without_a_scope_asked_for_a_providers_subject_gets_the_clients_defaults() {
    let (world, provider) = federated(|_| ()).await;
    let asked =
        v1::ExchangeTokenRequest { scopes: vec![], ..request(&world, "exchanger", &provider.token().sign(), ID_TOKEN) };
    // The exchanger has none.
    refused(&world, asked, Code::InvalidArgument, "INVALID_SCOPE", (400, "invalid_scope")).await;
}

#[tokio::test]
async fn claims_that_the_operator_names_go_on_into_the_new_token() {
    let (world, provider) = federated(|provider| {
        exchange_of(provider).copied_claims = ["email", "scope", "act"].map(str::to_owned).into();
    })
    .await;
    let token = provider.token().claim("email", "alice@acme.example").claim("scope", "everything").sign();
    let claims = granted(&world, request(&world, "exchanger", &token, ID_TOKEN)).await;
    assert_eq!((&claims["email"], &claims["scope"]), (&json!("alice@acme.example"), &json!("inventory.read")));
}

#[tokio::test]
async fn an_actor_token_of_a_provider_is_checked_as_a_subject_token_is() {
    let (world, provider) = federated(|_| ()).await;
    let with = |actor: TokenBuilder| {
        let actor = Some(v1::SecurityToken { value: actor.sign(), r#type: JWT.to_owned() });
        v1::ExchangeTokenRequest { actor, ..request(&world, "exchanger", &provider.token().sign(), ID_TOKEN) }
    };
    let actor = || provider.token().claim("sub", "team:x");
    let claims = granted(&world, with(actor().claim("exp", world_seconds() + 30))).await;
    let act = json!({"sub": "exchanger", "act": {"sub": "corporate:team:x"}});
    assert_eq!((&claims["act"], &claims["exp"]), (&act, &json!(world_seconds() + 30)));
    no_grant(&world, "its subject", with(actor().claim("sub", "bob"))).await;
    no_grant(&world, "its claims", with(actor().without_claim("mfa"))).await;
}

#[tokio::test]
async fn one_provider_is_trusted_once() {
    let provider = Provider::start().await;
    assert!(IdentityProviders::new(vec![provider.trusted("a:{sub}"), provider.trusted("b:{sub}")]).is_err());
}

/// Servers receive our tokens, so the holder of one is not its subject.
#[tokio::test]
async fn may_act_names_the_client_and_not_the_holder_of_a_token() {
    let (world, provider) = federated(|_| ()).await;
    let subject = provider.token().claim("may_act", json!({"iss": ISSUER, "sub": "short"})).sign();
    let mut of_short = crate::support::calls::message("short", &world.secret);
    of_short.audiences = vec!["inventory".to_owned()];
    let of_short = crate::support::calls::grpc(&world).issue_token(of_short).await.unwrap().into_inner().token.unwrap();
    let actor = Some(v1::SecurityToken { value: of_short.value, r#type: ACCESS_TOKEN.to_owned() });
    let asked = v1::ExchangeTokenRequest { actor, ..request(&world, "exchanger", &subject, ID_TOKEN) };
    no_grant(&world, "another client's token", asked).await;
}

#[tokio::test]
async fn no_client_gets_the_name_of_a_providers_subject() {
    let (world, _) = federated(|_| ()).await;
    let draft = |id: &str| ClientDraft { client_id: id.to_owned(), ..ClientDraft::default() };
    let by = Operator::local("test");
    for id in ["corporate:alice", "corporate:", "local:root", "registration:any"] {
        let error = world.admin.create(&by, &draft(id), &NewCredential::SECRET, false).await.unwrap_err();
        assert!(error.to_string().starts_with("client.client_id"), "{id}: {error}");
    }
    world.admin.create(&by, &draft("corporation"), &NewCredential::SECRET, false).await.unwrap();
}

/// The provider was configured after the client.
#[tokio::test]
async fn a_client_by_the_name_of_a_providers_subject_gets_no_token() {
    let (world, provider) = federated(|provider| {
        exchange_of(provider).namespace = Namespace::parse("ord{sub}").unwrap();
        exchange_of(provider).subjects.any = true;
    })
    .await;
    let refused = crate::support::calls::post_as_orders(&world, "").await;
    assert_eq!(refused.error(), (400, "unauthorized_client".to_owned()));
    let token = provider.token().claim("sub", "ers").sign();
    no_grant(&world, "its namesake", request(&world, "exchanger", &token, ID_TOKEN)).await;
    let update = |disabled| ClientUpdate {
        draft: ClientDraft { client_id: "orders".to_owned(), disabled, ..ClientDraft::default() },
        fields: vec![ClientField::Disabled],
        ..ClientUpdate::default()
    };
    let by = Operator::local("test");
    world.admin.update(&by, &update(false)).await.unwrap_err();
    world.admin.update(&by, &update(true)).await.unwrap();
}
