//! `private_key_jwt`: RFC 7523 section 3 and RFC 10070, one mutation of a valid assertion for each rule, over
//! both protocols.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use token_interceptor::{
    danger::AllowPlaintext,
    signature::{Algorithm, SigningKey},
    test_util::Es512Key,
};
use token_issuer::{
    client::{CredentialKind, PublicKeyJwk},
    client_authentication::assertion::Reach,
};
use token_proto::token::v1::{self, client_authentication::Credential};
use tonic::Code;

use crate::support::{
    World,
    calls::{grpc, post, reason},
    start, world,
};

pub(crate) const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

fn now() -> u64 {
    start().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

/// Returns a valid header and valid claims. Each call has its own `jti`.
pub(crate) fn good(client_id: &str) -> (Value, Value) {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
    let claims = json!({
        "iss": client_id, "sub": client_id, "aud": "https://issuer.example", "jti": id, "iat": now(), "exp": now() + 60,
    });
    (json!({"alg": "ES256", "typ": "client-authentication+jwt"}), claims)
}

pub(crate) fn sign(key: &SigningKey, token: &(Value, Value)) -> String {
    signed_by(|message| key.sign_bytes(message).unwrap(), token)
}

fn signed_by(signer: impl FnOnce(&[u8]) -> Vec<u8>, (header, claims): &(Value, Value)) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    let signature = signer(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

async fn over_grpc(world: &World, client_id: &str, assertion: &str) -> Result<v1::Token, (Code, String)> {
    let assertion = v1::ClientAssertion { r#type: JWT_BEARER.to_owned(), value: assertion.to_owned() };
    let client = v1::ClientAuthentication {
        client_id: client_id.to_owned(),
        credential: Some(Credential::Assertion(assertion)),
    };
    let request = v1::IssueTokenRequest { client: Some(client), ..Default::default() };
    let issued = grpc(world).issue_token(request).await.map_err(|status| reason(&status))?;
    Ok(issued.into_inner().token.unwrap())
}

async fn over_http(world: &World, parameters: &str, assertion: &str) -> u16 {
    let body = format!(
        "grant_type=client_credentials&client_assertion_type={JWT_BEARER}&client_assertion={assertion}{parameters}"
    );
    let answer = post(world, &body).await;
    if answer.status == 401 {
        assert_eq!(answer.error().1, "invalid_client");
    }
    answer.status.as_u16()
}

/// A valid assertion with one change is rejected over both protocols, like every other failed authentication.
async fn refused(world: &World, claim: &str, change: impl Fn(&mut Value, &mut Value)) {
    let assertion = || {
        let (mut header, mut claims) = good("with-key");
        change(&mut header, &mut claims);
        sign(&world.client_key, &(header, claims))
    };
    let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
    assert_eq!(over_grpc(world, "", &assertion()).await.unwrap_err(), expected, "{claim}");
    assert_eq!(over_http(world, "", &assertion()).await, 401, "{claim}");
}

#[tokio::test]
async fn a_good_assertion_authenticates_with_and_without_client_id() {
    let world = world().await;
    for client_id in ["", "with-key"] {
        let token = over_grpc(&world, client_id, &sign(&world.client_key, &good("with-key"))).await.unwrap();
        assert_eq!(token.scopes, ["inventory.read"]);
    }
    for parameters in ["", "&client_id=with-key"] {
        assert_eq!(over_http(&world, parameters, &sign(&world.client_key, &good("with-key"))).await, 200);
    }
}

#[tokio::test]
async fn usual_types_are_accepted_and_none_at_all() {
    let world = world().await;
    for typ in [json!("JWT"), json!("jwt"), json!("application/client-authentication+jwt")] {
        let (mut header, claims) = good("with-key");
        header["typ"] = typ;
        assert!(over_grpc(&world, "", &sign(&world.client_key, &(header, claims))).await.is_ok());
    }
    let (mut header, claims) = good("with-key");
    header.as_object_mut().unwrap().remove("typ");
    assert!(over_grpc(&world, "", &sign(&world.client_key, &(header, claims))).await.is_ok());
}

#[tokio::test]
async fn rfc_10070_the_type_is_demanded_where_the_operator_says_so() {
    let world = crate::support::world_with(|settings| settings.client_assertions.type_required = true).await;
    assert!(over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.is_ok());
    refused(&world, "JWT", |header, _| header["typ"] = json!("JWT")).await;
    refused(&world, "none", |header, _| drop(header.as_object_mut().unwrap().remove("typ"))).await;
}

#[tokio::test]
async fn rfc_7523_section_3_each_rule_is_checked() {
    let world = world().await;
    refused(&world, "iss is another", |_, claims| claims["iss"] = json!("orders")).await;
    refused(&world, "sub is another client", |_, claims| claims["sub"] = json!("orders")).await;
    refused(&world, "no iss", |_, claims| drop(claims.as_object_mut().unwrap().remove("iss"))).await;
    refused(&world, "no sub", |_, claims| drop(claims.as_object_mut().unwrap().remove("sub"))).await;
    refused(&world, "no exp", |_, claims| drop(claims.as_object_mut().unwrap().remove("exp"))).await;
    refused(&world, "no jti", |_, claims| drop(claims.as_object_mut().unwrap().remove("jti"))).await;
    refused(&world, "no aud", |_, claims| drop(claims.as_object_mut().unwrap().remove("aud"))).await;
    refused(&world, "expired", |_, claims| claims["exp"] = json!(now() - 10)).await;
    refused(&world, "lives an hour", |_, claims| claims["exp"] = json!(now() + 3600)).await;
    refused(&world, "exp is text", |_, claims| claims["exp"] = json!((now() + 60).to_string())).await;
    refused(&world, "issued in the future", |_, claims| claims["iat"] = json!(now() + 60)).await;
    refused(&world, "not valid yet", |_, claims| claims["nbf"] = json!(now() + 60)).await;
}

/// RFC 7519 section 2 allows fractions, and libraries send them. MSAL sends a certificate chain (`x5c`),
/// which RFC 7515 section 4.1 lets the issuer ignore. The registered key decides, as without the chain.
#[tokio::test]
async fn certificates_and_fractional_times_are_accepted() {
    let world = world().await;
    let (mut header, mut claims) = good("with-key");
    claims["exp"] = json!(now() as f64 + 60.5);
    header["x5c"] = json!(["MIIB"]);
    assert!(over_grpc(&world, "", &sign(&world.client_key, &(header, claims))).await.is_ok());
    refused(&world, "fractional exp that is over", |_, claims| claims["exp"] = json!(now() as f64 - 9.5)).await;
    refused(&world, "exp beyond every clock", |_, claims| claims["exp"] = json!(1e300)).await;
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let foreign = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    let (mut header, claims) = good("with-key");
    header["x5c"] = json!(["MIIB"]);
    assert!(over_grpc(&world, "", &sign(&foreign, &(header, claims))).await.is_err());
}

/// RFC 8725 sections 3.1 and 3.10. A header with a key, or with the URL of one, comes from a forger: no
/// library of `docs/languages` sends one in an assertion. RFC 7515 section 4.1.11 requires that unknown
/// extensions are rejected.
#[tokio::test]
async fn an_assertion_whose_header_brings_a_key_is_refused() {
    let world = world().await;
    let own = serde_json::from_str::<Value>(&world.client_key.public_jwk().to_json()).unwrap();
    refused(&world, "jwk", |header, _| header["jwk"] = own.clone()).await;
    refused(&world, "empty jwk", |header, _| header["jwk"] = json!({})).await;
    for name in ["jku", "x5u"] {
        refused(&world, name, |header, _| header[name] = json!("https://keys.example/jwks.json")).await;
    }
    refused(&world, "x5u beside x5c", |header, _| {
        header["x5c"] = json!(["MIIB"]);
        header["x5u"] = json!("https://keys.example/chain.pem");
    })
    .await;
    for (name, value) in [("crit", json!(["x5c"])), ("crit", json!([])), ("b64", json!(true))] {
        refused(&world, name, |header, _| header[name] = value.clone()).await;
    }
}

#[tokio::test]
async fn rfc_10070_the_audience_is_the_issuer_alone_as_a_string() {
    let world = world().await;
    for aud in [
        json!(["https://issuer.example"]),
        json!(["https://issuer.example", "https://other.example"]),
        json!("https://issuer.example/"),
        json!("https://issuer.example/oauth/token"),
        json!("https://ISSUER.example"),
        json!(""),
        json!(1),
    ] {
        refused(&world, "aud", |_, claims| claims["aud"] = aud.clone()).await;
    }
}

/// An operator may accept the token endpoint as the audience of one client, for libraries older than RFC
/// 10070.
#[tokio::test]
async fn the_token_endpoint_is_an_audience_only_where_allowed() {
    let world = world().await;
    let made_out_to = |aud: Value| {
        let (header, mut claims) = good("with-older-library");
        claims["aud"] = aud;
        sign(&world.client_key, &(header, claims))
    };
    let (issuer, endpoint) = ("https://issuer.example", "https://issuer.example/oauth/token");
    for aud in [json!(issuer), json!(endpoint), json!([issuer]), json!([endpoint])] {
        assert!(over_grpc(&world, "", &made_out_to(aud.clone())).await.is_ok(), "{aud}");
        assert_eq!(over_http(&world, "", &made_out_to(aud.clone())).await, 200, "{aud}");
    }
    for aud in [
        json!([issuer, endpoint]),
        json!([]),
        json!([1]),
        json!([[endpoint]]),
        json!("https://issuer.example/oauth/token/"),
        json!("https://issuer.example/oauth/introspect"),
        json!("https://other.example/oauth/token"),
        json!(""),
        Value::Null,
    ] {
        assert!(over_grpc(&world, "", &made_out_to(aud.clone())).await.is_err(), "{aud}");
        assert_eq!(over_http(&world, "", &made_out_to(aud.clone())).await, 401, "{aud}");
    }
    // An assertion is valid once, for all its audiences together.
    let assertion = made_out_to(json!(endpoint));
    assert!(over_grpc(&world, "", &assertion).await.is_ok());
    assert_eq!(over_http(&world, "", &assertion).await, 401);
}

#[tokio::test]
async fn rfc_8725_section_3_11_another_type_of_jwt_is_no_assertion() {
    let world = world().await;
    for typ in ["at+jwt", "dpop+jwt", "secevent+jwt", "x"] {
        refused(&world, typ, |header, _| header["typ"] = json!(typ)).await;
    }
}

#[tokio::test]
async fn rfc_8725_section_3_1_the_header_does_not_choose_how_it_is_checked() {
    let world = world().await;
    for alg in ["none", "HS256", "EdDSA", "ES384", "ES512"] {
        refused(&world, alg, |header, _| header["alg"] = json!(alg)).await;
    }
    refused(&world, "unknown kid", |header, _| header["kid"] = json!("x")).await;
    refused(&world, "crit", |header, _| header["crit"] = json!(["exp"])).await;
}

/// The issuer verifies ES512 and signs nothing with it. RFC 7518 section 3.4.
#[tokio::test]
async fn client_with_a_key_on_p521_signs_its_assertions_with_es512() {
    let (world, key, stranger) = (world().await, Es512Key::generate(), Es512Key::generate());
    let jwk = CredentialKind::PublicKey(PublicKeyJwk::parse(&key.jwk().to_string()).unwrap());
    world.store.change("with-key", |client| client.credentials[0].kind = jwk);
    let by = |signer: &dyn Fn(&[u8]) -> Vec<u8>, alg: &str| {
        let (mut header, claims) = good("with-key");
        header["alg"] = json!(alg);
        signed_by(signer, &(header, claims))
    };
    let own = || by(&|message| key.sign_bytes(message), "ES512");
    assert!(over_grpc(&world, "", &own()).await.is_ok());
    assert_eq!(over_http(&world, "", &own()).await, 200);
    let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
    for (what, forged) in [
        ("another key", by(&|message| stranger.sign_bytes(message), "ES512")),
        ("alg ES256", by(&|message| key.sign_bytes(message), "ES256")),
        ("alg ES384", by(&|message| key.sign_bytes(message), "ES384")),
        ("a signature on P-256", by(&|message| world.client_key.sign_bytes(message).unwrap(), "ES512")),
        ("zeros", by(&|_| vec![0; 132], "ES512")),
        ("cut short", by(&|message| key.sign_bytes(message)[..131].to_vec(), "ES512")),
    ] {
        assert_eq!(over_grpc(&world, "", &forged).await.unwrap_err(), expected, "{what}");
        assert_eq!(over_http(&world, "", &forged).await, 401, "{what}");
    }
}

#[tokio::test]
async fn rfc_7523_section_3_item_7_an_assertion_is_used_once() {
    let world = world().await;
    let assertion = sign(&world.client_key, &good("with-key"));
    assert!(over_grpc(&world, "", &assertion).await.is_ok());
    assert!(over_grpc(&world, "", &assertion).await.is_err());
    assert_eq!(over_http(&world, "", &assertion).await, 401, "over the other face");
}

#[tokio::test]
async fn a_refused_assertion_is_not_used_up() {
    let world = world().await;
    let (header, mut claims) = good("with-key");
    let assertion = sign(&world.client_key, &(header.clone(), claims.clone()));
    claims["aud"] = json!("https://other.example");
    assert!(over_grpc(&world, "", &sign(&world.client_key, &(header, claims))).await.is_err());
    assert!(over_grpc(&world, "", &assertion).await.is_ok());
}

#[tokio::test]
async fn only_the_clients_own_live_key_signs() {
    let world = world().await;
    for client_id in ["stranger", "orders", "disabled-with-key", "expired-key"] {
        let assertion = sign(&world.client_key, &good(client_id));
        let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
        assert_eq!(over_grpc(&world, "", &assertion).await.unwrap_err(), expected, "{client_id}");
    }
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let foreign = SigningKey::from_der(Algorithm::Es256, &der).unwrap();
    assert!(over_grpc(&world, "", &sign(&foreign, &good("with-key"))).await.is_err());
}

#[tokio::test]
async fn rfc_7521_section_4_2_client_id_must_agree_and_the_type_be_known() {
    let world = world().await;
    let assertion = sign(&world.client_key, &good("with-key"));
    assert!(over_grpc(&world, "orders", &assertion).await.is_err());
    let body =
        |kind: &str| format!("grant_type=client_credentials&client_assertion_type={kind}&client_assertion={assertion}");
    let saml = post(&world, &body("urn:ietf:params:oauth:client-assertion-type:saml2-bearer")).await;
    assert_eq!(saml.error(), (401, "invalid_client".to_owned()));
    let half = post(&world, &format!("grant_type=client_credentials&client_assertion={assertion}")).await;
    assert_eq!(half.error(), (400, "invalid_request".to_owned()));
}

#[tokio::test]
async fn an_assertion_beside_a_secret_is_two_methods() {
    let world = world().await;
    let assertion = sign(&world.client_key, &good("with-key"));
    let parameters = format!("&client_id=with-key&client_secret={}", world.secret);
    assert_eq!(over_http(&world, &parameters, &assertion).await, 400);
}

/// A client's own server, which answers with these documents, one after the other.
async fn serve(documents: Vec<String>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let documents = std::sync::Arc::new(std::sync::Mutex::new(documents.into_iter()));
    let answer = axum::routing::get(async move || documents.lock().unwrap().next().unwrap());
    let router = axum::Router::new().route("/jwks.json", answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/jwks.json")
}

async fn world_with_key_sets(documents: impl FnOnce(&World) -> Vec<String>) -> World {
    let reach = Reach::Anywhere(AllowPlaintext);
    let world = crate::support::world_with(|settings| settings.client_assertions.reach = reach).await;
    let uri = serve(documents(&world)).await;
    world.store.change("with-key", |client| {
        client.credentials.clear();
        client.jwks_uri = Some(uri);
    });
    world
}

fn another_key() -> SigningKey {
    SigningKey::from_der(Algorithm::Es256, &SigningKey::generate_pkcs8(Algorithm::Es256).unwrap()).unwrap()
}

/// RFC 7517 section 4.5 allows it, and clients do so during a rotation.
#[tokio::test]
async fn each_of_several_keys_under_one_id_signs() {
    let other = another_key();
    let named = |key: &SigningKey| {
        let mut jwk = serde_json::from_str::<Value>(&key.public_jwk().to_json()).unwrap();
        jwk["kid"] = json!("one");
        jwk
    };
    let set = |world: &World| vec![json!({"keys": [named(&world.client_key), named(&other)]}).to_string()];
    let world = world_with_key_sets(set).await;
    for (key, accepted) in [(&world.client_key, true), (&other, true), (&another_key(), false)] {
        let (mut header, claims) = good("with-key");
        header["kid"] = json!("one");
        assert_eq!(over_grpc(&world, "", &sign(key, &(header, claims))).await.is_ok(), accepted);
    }
}

/// A proxy's mistake, or a set for encryption only, must not lock the client out.
#[tokio::test]
async fn a_set_without_a_usable_key_leaves_the_last_one_in_place() {
    let sets = |world: &World| {
        let good = format!(r#"{{"keys":[{}]}}"#, world.client_key.public_jwk().to_json());
        vec![good, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#.to_owned(), r#"{"keys":[]}"#.to_owned()]
    };
    let world = world_with_key_sets(sets).await;
    let assertion = || sign(&world.client_key, &good("with-key"));
    over_grpc(&world, "", &assertion()).await.unwrap();
    let after = async |seconds| {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(seconds)).await;
        tokio::time::resume();
        // Fetches again in the background, while the cached key stays in use.
        let due = over_grpc(&world, "", &assertion()).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        due
    };
    after(301).await.unwrap();
    after(11).await.expect("the unusable set was not taken over");
    over_grpc(&world, "", &assertion()).await.expect_err("the empty set was: it says that no key is valid");
}

/// A client's own server, with its key set. It answers once.
async fn key_server(key_set: String) -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    let answer = axum::routing::get(async move || {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            std::future::pending::<()>().await;
        }
        key_set
    });
    let router = axum::Router::new().route("/jwks.json", answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/jwks.json"), asked)
}

async fn world_with_key_server(reach: Reach) -> (World, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let world = crate::support::world_with(|settings| settings.client_assertions.reach = reach).await;
    let key_set = format!(r#"{{"keys":[{}]}}"#, world.client_key.public_jwk().to_json());
    let (uri, asked) = key_server(key_set).await;
    world.store.change("with-key", |client| {
        client.credentials.clear();
        client.jwks_uri = Some(uri);
    });
    (world, asked)
}

/// RFC 7591 section 2, `jwks_uri`.
#[tokio::test]
async fn keys_are_fetched_from_the_clients_jwks_uri_and_kept() {
    let (world, asked) = world_with_key_server(Reach::Anywhere(AllowPlaintext)).await;
    for _ in 0..3 {
        assert!(over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.is_ok());
    }
    // Unpublished key IDs do not cause unlimited fetches.
    for n in 0..5 {
        refused(&world, "unknown kid", |header, _| header["kid"] = json!(n.to_string())).await;
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_jwks_uri_may_lead_to_a_private_network_where_the_operator_says_so() {
    let (world, asked) = world_with_key_server(Reach::Private).await;
    assert!(over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.is_ok());
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A caller that disconnects does not cancel the fetch. The next caller gets the fetched key.
#[tokio::test]
async fn a_fetch_goes_on_when_who_asked_for_it_hangs_up() {
    let (world, asked) = world_with_key_server(Reach::Private).await;
    let assertion = sign(&world.client_key, &good("with-key"));
    {
        let mut hung_up = std::pin::pin!(over_grpc(&world, "", &assertion));
        while asked.load(std::sync::atomic::Ordering::Relaxed) < 1 {
            assert!(futures_util::poll!(hung_up.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    assert!(over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.is_ok());
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_key_that_is_held_serves_while_a_fetch_for_another_hangs() {
    let (world, asked) = world_with_key_server(Reach::Anywhere(AllowPlaintext)).await;
    over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.unwrap();
    // After the pause between two fetches.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(11)).await;
    let (mut header, claims) = good("with-key");
    header["kid"] = json!("invented");
    let invented = sign(&world.client_key, &(header, claims));
    let mut waiting = std::pin::pin!(over_grpc(&world, "", &invented));
    while asked.load(std::sync::atomic::Ordering::Relaxed) < 2 {
        assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "it has not been looked for yet");
        tokio::task::yield_now().await;
    }
    over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.expect("known, and undisturbed");
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    // The fetch ends with its time limit, and the request is rejected.
    assert_eq!(waiting.await.unwrap_err().1, "CLIENT_AUTHENTICATION_FAILED");
}

#[tokio::test]
async fn while_the_store_is_out_of_reach_an_assertion_still_authenticates_once() {
    let world = world().await;
    over_grpc(&world, "", &sign(&world.client_key, &good("with-key"))).await.unwrap();
    world.store.set_out_of_reach(true);
    let assertion = sign(&world.client_key, &good("with-key"));
    over_grpc(&world, "", &assertion).await.unwrap();
    assert_eq!(over_grpc(&world, "", &assertion).await.unwrap_err().1, "CLIENT_AUTHENTICATION_FAILED");
}

#[tokio::test]
async fn a_jwks_uri_that_leads_inside_is_not_followed() {
    let (world, asked) = world_with_key_server(Reach::Public).await;
    let expected = (Code::Unauthenticated, "CLIENT_AUTHENTICATION_FAILED".to_owned());
    let assertion = sign(&world.client_key, &good("with-key"));
    assert_eq!(over_grpc(&world, "", &assertion).await.unwrap_err(), expected);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
}
