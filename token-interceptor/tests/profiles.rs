//! Tokens of other makers, as `profiles.md` shows them, and forged neighbours that fail one check of a
//! profile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{Request, Response};
use serde_json::{Map, Value, json};
use token_interceptor::{
    caller::Caller,
    key_set::KeySet,
    layer::AuthorizationLayer,
    signature::{Algorithm, SigningKey},
    test_util::{Es512Key, TestIssuer, TokenBuilder},
    token::{UnverifiedToken, VerifiedToken},
    verify::{BuildError, TokenProfile, TrustedIssuer, Verifier},
};
use token_proto::policy::Requirement;
use tonic::body::Body;
use tower::{Layer as _, ServiceExt as _};

const PAGE: &str = include_str!("../profiles.md");
const RSA: &str = include_str!("../testdata/public-test-key-rsa-2048.pkcs8.pem");

type Preset = fn() -> TokenProfile;

/// Every preset, by the name that the page gives it.
const PRESETS: [(&str, Preset); 10] = [
    ("entra", TokenProfile::entra),
    ("entra_v1", TokenProfile::entra_v1),
    ("auth0", TokenProfile::auth0),
    ("okta", TokenProfile::okta),
    ("cognito", TokenProfile::cognito),
    ("keycloak", TokenProfile::keycloak),
    ("google", TokenProfile::google),
    ("github_actions", TokenProfile::github_actions),
    ("kubernetes", TokenProfile::kubernetes),
    ("spiffe", TokenProfile::spiffe),
];

/// A row of the page's table, and the token below it.
#[derive(Clone, Debug)]
struct Row {
    preset: String,
    audience: String,
    client_id: String,
    subject: String,
    scopes: String,
    token_id: String,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

/// Returns every row of the page.
fn rows() -> Vec<Row> {
    let table = PAGE.lines().filter(|line| line.starts_with("| `"));
    let rows = table.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
        let [preset, audience, client_id, subject, scopes, token_id] = cells[..] else { panic!("{line}") };
        let (_, section) = PAGE.split_once(&format!("\n# `{preset}`\n")).unwrap();
        let (_, example) = section.split_once("```json\n").unwrap();
        let (example, _) = example.split_once("```").unwrap();
        let mut parts = serde_json::Deserializer::from_str(example).into_iter::<Map<String, Value>>();
        let [audience, client_id, subject] = [audience, client_id, subject].map(str::to_owned);
        let [preset, scopes, token_id] = [preset, scopes, token_id].map(str::to_owned);
        let [header, claims] = [(); 2].map(|()| parts.next().unwrap().unwrap());
        Row { preset, audience, client_id, subject, scopes, token_id, header, claims }
    });
    rows.collect()
}

fn row(preset: &str) -> Row {
    rows().into_iter().find(|row| row.preset == preset).unwrap()
}

fn key(algorithm: Algorithm) -> SigningKey {
    if SigningKey::generates(algorithm) {
        return SigningKey::from_der(algorithm, &SigningKey::generate_pkcs8(algorithm).unwrap()).unwrap();
    }
    let body: String = RSA.lines().filter(|line| !line.starts_with("-----")).collect();
    SigningKey::from_der(algorithm, &STANDARD.decode(body).unwrap()).unwrap()
}

impl Row {
    fn profile(&self) -> TokenProfile {
        PRESETS.iter().find(|(name, _)| *name == self.preset).unwrap().1()
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::from_name(self.header["alg"].as_str().unwrap()).unwrap()
    }

    /// The provider, with a key of this algorithm.
    fn provider(&self, algorithm: Algorithm) -> TestIssuer {
        // A JWT-SVID belongs to its trust domain, with or without `iss`.
        let issuer =
            if self.preset == "spiffe" { "spiffe://example.org" } else { self.claims["iss"].as_str().unwrap() };
        TestIssuer::with_key(issuer, key(algorithm))
    }

    /// The provider as it is trusted: by preset alone, with clients where strangers have accounts.
    fn trusted(&self, provider: &TestIssuer) -> TrustedIssuer {
        self.trusted_with(provider.issuer(), &public_jwk(provider))
    }

    fn trusted_with(&self, issuer: &str, jwk: &Value) -> TrustedIssuer {
        let keys = if self.preset == "spiffe" {
            bundle(jwk)
        } else {
            KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap()
        };
        let trusted = TrustedIssuer::fixed(issuer, keys).unwrap().profile(self.profile());
        if ["google", "github_actions"].contains(&&*self.preset) {
            trusted.clients([&*self.client_id])
        } else {
            trusted
        }
    }

    fn sign(&self, provider: &TestIssuer) -> String {
        self.builder(provider, &provider.key_id()).sign()
    }

    fn builder(&self, provider: &TestIssuer, key_id: &str) -> TokenBuilder {
        let mut header = self.header.clone();
        header.insert("kid".to_owned(), key_id.into());
        let token = provider.token().raw_header(Value::Object(header).to_string());
        token.raw_claims(Value::Object(self.claims.clone()).to_string())
    }

    /// Verifies this token with a valid signature, as one of its preset.
    fn verify(&self) -> Result<VerifiedToken, &'static str> {
        self.verify_with(|trusted| trusted)
    }

    fn verify_with(&self, change: impl FnOnce(TrustedIssuer) -> TrustedIssuer) -> Result<VerifiedToken, &'static str> {
        let provider = self.provider(self.algorithm());
        let verifier = verifier(&provider, change(self.trusted(&provider))).unwrap();
        self.verify_by(&verifier, &provider)
    }

    fn verify_by(&self, verifier: &Verifier, provider: &TestIssuer) -> Result<VerifiedToken, &'static str> {
        self.verdict(verifier, &self.sign(provider))
    }

    fn verdict(&self, verifier: &Verifier, token: &str) -> Result<VerifiedToken, &'static str> {
        let verified = verifier.verify(UnverifiedToken::new(token), &self.audience, verifier.now());
        verified.map_err(|error| error.label())
    }

    fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    fn of_type(mut self, typ: impl Into<Value>) -> Self {
        self.header.insert("typ".to_owned(), typ.into());
        self
    }

    fn untyped(mut self) -> Self {
        self.header.remove("typ");
        self
    }
}

fn public_jwk(provider: &TestIssuer) -> Value {
    serde_json::from_str(&provider.key().public_jwk().to_json()).unwrap()
}

/// The bundle of a trust domain: one key for JWT-SVIDs, one of an X.509 authority, one without `use`.
fn bundle(jwk: &Value) -> KeySet {
    let jwk = |key_use: &str| {
        let mut jwk = jwk.clone();
        let members = jwk.as_object_mut().unwrap();
        members.remove("alg");
        members.insert("use".to_owned(), key_use.into());
        jwk
    };
    let document = json!({ "keys": [jwk("x509-svid"), jwk("jwt-svid"), jwk("sig")], "spiffe_refresh_hint": 300 });
    let keys = KeySet::from_spiffe_bundle(document.to_string().as_bytes()).unwrap();
    assert_eq!((keys.len(), keys.skipped()), (1, 2));
    keys
}

fn verifier(provider: &TestIssuer, trusted: TrustedIssuer) -> Result<Verifier, BuildError> {
    Verifier::builder().issuer(trusted).clock(provider.clock()).build()
}

/// Returns the caller that a handler sees behind the layer.
async fn caller_of(row: &Row) -> Option<Caller> {
    let provider = row.provider(row.algorithm());
    let verifier = verifier(&provider, row.trusted(&provider)).unwrap();
    let layer = AuthorizationLayer::requiring(verifier, row.audience.clone(), Requirement::any_token());
    let seen = Arc::new(Mutex::new(None));
    let sink = Arc::clone(&seen);
    let handler = tower::service_fn(move |request: Request<Body>| {
        *sink.lock().unwrap() = request.extensions().get::<Caller>().cloned();
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    let request = Request::post("/").header("authorization", format!("Bearer {}", row.sign(&provider)));
    layer.layer(handler).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    seen.lock().unwrap().take()
}

#[tokio::test]
async fn a_token_of_each_provider_reads_as_the_page_says() {
    let rows = rows();
    let presets: Vec<&str> = rows.iter().map(|row| &*row.preset).collect();
    assert_eq!(presets, PRESETS.map(|(name, _)| name), "each preset has a row in profiles.md, in this order");
    for row in rows {
        let caller = caller_of(&row).await.unwrap_or_else(|| panic!("{}: refused", row.preset));
        let scopes = caller.scopes().collect::<Vec<_>>().join(" ");
        let came = [caller.client_id(), caller.subject(), &scopes, caller.token().token_id()];
        assert_eq!(came, [&*row.client_id, &row.subject, &row.scopes, &row.token_id], "{}", row.preset);
    }
}

/// A token of each provider that is valid but for one rule of its profile.
#[test]
fn each_profile_rejects_what_only_it_rejects() {
    let lived = |row: Row, seconds: u64| {
        let issued = row.claims["iat"].as_u64().unwrap();
        row.with("exp", issued + seconds)
    };
    let (day, hour) = (86_400, 3600);
    for (label, forged) in [
        // ID tokens of Entra ID, Auth0 and Okta have the audience of an app and no client.
        ("malformed", row("entra").without("azp")),
        ("malformed", row("entra").without("azp").with("appid", "x").with("client_id", "x")),
        ("malformed", row("entra").without("uti").with("jti", "x")),
        ("type", row("entra").untyped()),
        ("type", row("entra").of_type("at+jwt")),
        ("lifetime", lived(row("entra"), 29 * hour + 1)),
        ("malformed", row("entra_v1").without("appid").with("azp", "x")),
        ("malformed", row("entra_v1").without("uti")),
        ("malformed", row("auth0").without("azp")),
        ("type", row("auth0").untyped()),
        ("lifetime", lived(row("auth0"), 30 * day + 1)),
        ("malformed", row("okta").without("cid").with("client_id", "x")),
        ("malformed", row("okta").without("jti")),
        ("type", row("okta").of_type("JWT")),
        ("lifetime", lived(row("okta"), day + 1)),
        // An ID token of Cognito.
        ("profile", row("cognito").with("token_use", "id")),
        ("profile", row("cognito").without("token_use")),
        ("malformed", row("cognito").without("client_id").with("aud", "1example23456789")),
        ("audience", row("cognito").with("client_id", "another").with("aud", "1example23456789")),
        ("malformed", row("cognito").without("jti")),
        ("type", row("cognito").of_type("JWT")),
        ("lifetime", lived(row("cognito"), day + 1)),
        // An ID token of Keycloak differs from an access token by this claim alone.
        ("profile", row("keycloak").with("typ", "ID")),
        ("profile", row("keycloak").with("typ", json!(["Bearer"]))),
        ("malformed", row("keycloak").without("azp")),
        ("malformed", row("keycloak").without("jti")),
        ("type", row("keycloak").of_type("logout+jwt")),
        ("lifetime", lived(row("keycloak"), day + 1)),
        ("client", row("google").with("sub", "999")),
        ("type", row("google").untyped()),
        ("lifetime", lived(row("google"), hour + 1)),
        ("client", row("github_actions").with("sub", "repo:evil/orders:ref:refs/heads/main")),
        ("profile", row("github_actions").with("event_name", "pull_request_target")),
        ("profile", row("github_actions").with("event_name", json!(["push"]))),
        ("malformed", row("github_actions").without("jti")),
        ("type", row("github_actions").untyped()),
        ("lifetime", lived(row("github_actions"), hour + 1)),
        ("type", row("kubernetes").of_type("at+jwt")),
        ("lifetime", lived(row("kubernetes"), day + 1)),
        ("malformed", row("spiffe").with("sub", "spiffe://example.org")),
        ("malformed", row("spiffe").with("sub", "spiffe://example.org/../orders")),
        ("malformed", row("spiffe").with("sub", "orders")),
        ("issuer", row("spiffe").with("sub", "spiffe://other.example/ns/prod/sa/orders")),
        ("issuer", row("spiffe").with("iss", "https://x").with("sub", "spiffe://other.example/orders")),
        ("type", row("spiffe").of_type("at+jwt")),
        ("lifetime", lived(row("spiffe"), hour + 1)),
        ("lifetime", lived(row("spiffe"), 2 * hour).without("iat")),
    ] {
        row(&forged.preset).verify().unwrap();
        assert_eq!(forged.verify().unwrap_err(), label, "{}: {:?} {:?}", forged.preset, forged.header, forged.claims);
    }
}

/// The signature is valid and the key is in the issuer's set: only the profile rejects the algorithm.
#[test]
fn each_profile_rejects_algorithms_that_its_provider_lacks() {
    let rsa = [Algorithm::Rs256, Algorithm::Rs384, Algorithm::Rs512, Algorithm::Ps256];
    let others = [Algorithm::Ps384, Algorithm::Ps512, Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa];
    let mut verdicts = 0;
    for row in rows() {
        let accepted: &[Algorithm] = match &*row.preset {
            "auth0" => &[Algorithm::Rs256, Algorithm::Rs512, Algorithm::Ps256],
            "keycloak" => &Algorithm::ALL,
            "kubernetes" => &[Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384],
            // The key of a bundle names no algorithm, so an RSA key is one for RS256.
            "spiffe" => &[Algorithm::Rs256, Algorithm::Es256, Algorithm::Es384, Algorithm::Es512],
            _ => &[Algorithm::Rs256],
        };
        for algorithm in rsa.into_iter().chain(others).chain([Algorithm::Es512]) {
            let mut token = row.clone();
            token.header.insert("alg".to_owned(), algorithm.name().into());
            let verdict = if algorithm == Algorithm::Es512 {
                let (provider, key) = (row.provider(Algorithm::Es256), Es512Key::generate());
                let verifier = verifier(&provider, row.trusted_with(provider.issuer(), &key.jwk())).unwrap();
                token.verdict(&verifier, &key.sign(token.builder(&provider, &key.key_id())))
            } else {
                let provider = row.provider(algorithm);
                token.verify_by(&verifier(&provider, row.trusted(&provider)).unwrap(), &provider)
            };
            let expected = if accepted.contains(&algorithm) { None } else { Some("algorithm") };
            assert_eq!(verdict.err(), expected, "{}: {algorithm}", row.preset);
            verdicts += 1;
        }
    }
    assert_eq!(verdicts, PRESETS.len() * Algorithm::ALL.len());
}

#[test]
fn what_a_provider_varies_is_accepted() {
    for accepted in [
        row("okta").of_type("at+jwt"),
        row("github_actions").without("event_name"),
        row("keycloak").of_type("at+jwt"),
        row("kubernetes").of_type("JWT"),
        row("kubernetes").without("jti"),
        row("kubernetes").with("aud", "inventory"),
        row("spiffe").untyped(),
        row("spiffe").of_type("JOSE"),
        row("spiffe").without("iat"),
        row("spiffe").with("aud", "inventory"),
        // SPIRE can write the URL of its discovery document, which says nothing about the keys.
        row("spiffe").with("iss", "https://spire.example.org"),
        row("auth0").with("aud", json!(["https://inventory.acme.example", "https://acme.eu.auth0.com/userinfo"])),
        row("google").with("iat", 1_767_225_600.25).with("exp", 1_767_229_200.75),
    ] {
        accepted.verify().unwrap_or_else(|label| panic!("{}: {label} {:?}", accepted.preset, accepted.claims));
    }
    row("cognito").with("aud", "1example23456789").verify_with(|trusted| trusted.profile(cognito_with_aud())).unwrap();
}

fn cognito_with_aud() -> TokenProfile {
    TokenProfile::cognito().audience_claim("aud")
}

#[test]
fn roles_of_a_user_do_not_widen_the_scopes_of_a_client() {
    let scopes = |row: Row| row.verify().unwrap().scopes().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(scopes(row("entra").with("scp", "Inventory.Read")), ["Inventory.Read"]);
    // Present and of another type: it grants nothing, and the roles still do not count.
    assert_eq!(scopes(row("entra").with("scp", 1)), [""; 0]);
    assert_eq!(scopes(row("entra").with("scp", "")), [""; 0]);
}

#[test]
fn roles_below_a_pointer_are_scopes_unless_they_contain_a_space() {
    let scopes = |claim: &'static str| {
        let profile = TokenProfile::keycloak().scope_claims([claim]);
        let verified = row("keycloak").verify_with(|trusted| trusted.profile(profile)).unwrap();
        verified.scopes().map(str::to_owned).collect::<Vec<_>>()
    };
    // "stock keeper" is one role, not the scopes "stock" and "keeper".
    assert_eq!(scopes("/realm_access/roles"), ["default-roles-acme"]);
    assert_eq!(scopes("/resource_access/inventory/roles"), ["inventory.write"]);
    assert_eq!(scopes("/resource_access/orders/roles"), [""; 0]);
}

#[test]
fn an_audience_has_other_names_at_an_issuer() {
    let named = |names: [&'static str; 2], claims: Row| {
        let provider = claims.provider(claims.algorithm());
        let trusted = claims.trusted(&provider).audience_names("inventory", names);
        let verifier = verifier(&provider, trusted).unwrap();
        Row { audience: "inventory".to_owned(), ..claims }.verify_by(&verifier, &provider).map(drop)
    };
    let id = "6e74172b-be56-4843-9ff4-e66a39bb12e3";
    assert_eq!(named([id, "api://inventory"], row("entra")), Ok(()));
    assert_eq!(named([id, "api://inventory"], row("entra").with("aud", json!(["x", "api://inventory"]))), Ok(()));
    assert_eq!(named(["api://inventory", "x"], row("entra")), Err("audience"));
    // The policy's own name is not one of the issuer's, so another app may have it there.
    assert_eq!(named([id, "api://inventory"], row("entra").with("aud", "inventory")), Err("audience"));
    assert_eq!(named(["1example23456789", "2example"], row("cognito")), Ok(()));
    assert_eq!(named(["2example", "3example"], row("cognito")), Err("audience"));
}

#[test]
fn an_issuer_that_strangers_use_is_trusted_for_named_clients() {
    for preset in ["google", "github_actions"] {
        let row = row(preset);
        let provider = row.provider(row.algorithm());
        let any = provider.trusted().profile(row.profile());
        let error = verifier(&provider, any.clone()).unwrap_err();
        assert!(error.to_string().contains("clients"), "{error}");
        verifier(&provider, any.clients(["*"])).unwrap();
    }
    let row = row("github_actions");
    row.clone().verify_with(|trusted| trusted.clients(["repo:acme/*"])).unwrap();
    let evil = row.with("sub", "repo:acme-evil/orders:ref:refs/heads/main");
    assert_eq!(evil.verify_with(|trusted| trusted.clients(["repo:acme/*"])).unwrap_err(), "client");
}

/// SPIFFE JWT-SVID section 3: the trust domain selects the keys.
#[test]
fn a_trust_domain_is_named_by_its_id_and_has_a_bundle() {
    let row = row("spiffe");
    let provider = row.provider(Algorithm::Es256);
    let built = |id: &str| {
        let trusted = TrustedIssuer::fixed(id, bundle(&public_jwk(&provider))).unwrap();
        verifier(&provider, trusted.profile(TokenProfile::spiffe())).map(drop).map_err(|error| error.to_string())
    };
    built("spiffe://example.org").unwrap();
    for id in ["https://example.org", "example.org", "spiffe://example.org/", "spiffe://Example.org", "spiffe://"] {
        assert!(built(id).unwrap_err().contains("trust domain"), "{id}");
    }
    let discovered = TrustedIssuer::discover("https://example.org").unwrap().profile(TokenProfile::spiffe());
    verifier(&provider, discovered).unwrap_err();

    // Two domains: each vouches for its own workloads alone, also where another issuer is trusted.
    let other = TestIssuer::with_key("spiffe://other.example", key(Algorithm::Es256));
    let web = TestIssuer::new("https://issuer.example");
    let builder = Verifier::builder().clock(provider.clock()).issuer(row.trusted(&provider));
    let builder = builder.issuer(row.trusted(&other)).issuer(web.trusted().profile(TokenProfile::kubernetes()));
    let verifier = builder.build().unwrap();
    let of_other = row.clone().with("sub", "spiffe://other.example/orders");
    assert_eq!(row.verify_by(&verifier, &provider).unwrap().issuer(), "spiffe://example.org");
    assert_eq!(of_other.verify_by(&verifier, &other).unwrap().issuer(), "spiffe://other.example");
    assert_eq!(row.verify_by(&verifier, &other).unwrap_err(), "key_unknown");
    assert_eq!(of_other.verify_by(&verifier, &provider).unwrap_err(), "key_unknown");
    // A trusted `iss` comes first, and is no way into a trust domain.
    let claimed = row.clone().with("iss", "https://issuer.example");
    assert_eq!(claimed.verify_by(&verifier, &web).unwrap().issuer(), "https://issuer.example");
    assert_eq!(claimed.verify_by(&verifier, &provider).unwrap_err(), "key_unknown");
    let named = row.clone().with("iss", "spiffe://example.org").with("sub", "spiffe://none.example/orders");
    assert_eq!(named.verify_by(&verifier, &provider).unwrap_err(), "issuer");
}

#[test]
fn a_profile_that_no_token_meets_is_an_error() {
    let issuer = TestIssuer::new("https://issuer.example");
    for bad in [
        TokenProfile::rfc7519().client_claim(""),
        TokenProfile::rfc7519().scope_claims([""]),
        TokenProfile::rfc7519().audience_claim(""),
        TokenProfile::rfc7519().types([""; 0]),
    ] {
        verifier(&issuer, issuer.trusted().profile(bad)).unwrap_err();
    }
}

/// The settings of an issuer count in any order, and a profile can be changed.
#[test]
fn algorithms_and_lifetime_of_a_preset_can_be_set() {
    let row = row("entra");
    let provider = row.provider(Algorithm::Ps512);
    let mut token = row.clone();
    token.header.insert("alg".to_owned(), "PS512".into());
    let trusted = provider.trusted().algorithms(&[Algorithm::Ps512]).profile(TokenProfile::entra());
    token.verify_by(&verifier(&provider, trusted).unwrap(), &provider).unwrap();
    let short = TokenProfile::entra().lifetime_max(Duration::from_secs(60));
    assert_eq!(row.verify_with(|trusted| trusted.profile(short)).unwrap_err(), "lifetime");
    let issued = row.claims["iat"].as_u64().unwrap();
    let long = row.with("exp", issued + 30 * 86_400);
    long.verify_with(|trusted| trusted.profile(TokenProfile::entra().any_lifetime())).unwrap();
}

/// The tokens of this project's issuer stay on RFC 9068.
#[test]
fn the_default_profile_refuses_the_tokens_of_every_provider() {
    for row in rows() {
        let provider = row.provider(row.algorithm());
        let own = verifier(&provider, provider.trusted()).unwrap();
        row.verify_by(&own, &provider).unwrap_err();
    }
}
