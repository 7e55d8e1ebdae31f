//! For each check, a token that fails only that check: one mutation of a valid one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use serde_json::{Value, json};
use token_interceptor::{
    key_set::KeySet,
    revocation::Revocations,
    signature::{self, Algorithm, SigningKey, VerifyingKey},
    test_util::{Es512Key, TestIssuer, TokenBuilder},
    token::{UnverifiedToken, VerifiedToken},
    verify::{TokenProfile, TrustedIssuer, Verifier},
};
use token_proto::token::v1::ErrorReason;

const ISSUER: &str = "https://issuer.example";

fn verify(verifier: &Verifier, token: &str) -> Result<VerifiedToken, &'static str> {
    let verified = verifier.verify(UnverifiedToken::new(token), "inventory", verifier.now());
    verified.map_err(|error| error.label())
}

/// Applies one change to a valid token. Returns the check that rejected it.
fn refused(change: impl FnOnce(TokenBuilder) -> TokenBuilder) -> &'static str {
    let issuer = TestIssuer::new(ISSUER);
    verify(&issuer.verifier(), &issuer.token().sign()).unwrap();
    verify(&issuer.verifier(), &change(issuer.token()).sign()).unwrap_err()
}

fn accepted(change: impl FnOnce(TokenBuilder) -> TokenBuilder) {
    let issuer = TestIssuer::new(ISSUER);
    verify(&issuer.verifier(), &change(issuer.token()).sign()).unwrap();
}

#[test]
fn accepts_a_good_token_and_tells_what_it_says() {
    let issuer = TestIssuer::new(ISSUER);
    let token = issuer.token().scope("a.read b").claim("tenant", "blue").sign();
    let verified = verify(&issuer.verifier(), &token).unwrap();
    assert_eq!((verified.issuer(), verified.client_id(), verified.subject()), (ISSUER, "orders", "orders"));
    assert_eq!(verified.scopes().collect::<Vec<_>>(), ["a.read", "b"]);
    assert_eq!(verified.audiences().collect::<Vec<_>>(), ["inventory"]);
    assert_eq!(verified.expires_at(), verified.issued_at() + Duration::from_secs(300));
    #[derive(serde::Deserialize)]
    struct Own {
        tenant: String,
    }
    assert_eq!(verified.claims_as::<Own>().unwrap().tenant, "blue");
}

#[test]
fn accepts_every_algorithm_that_keys_can_be_generated_for() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa] {
        let issuer = TestIssuer::with_algorithm(ISSUER, algorithm);
        verify(&issuer.verifier(), &issuer.token().sign()).unwrap();
    }
}

#[test]
fn rejects_a_signature_by_another_key() {
    let (issuer, other) = (TestIssuer::new(ISSUER), TestIssuer::new(ISSUER));
    assert_eq!(verify(&issuer.verifier(), &issuer.token().sign_with(other.key())).unwrap_err(), "signature");
}

#[test]
fn rejects_claims_that_were_changed_after_signing() {
    let issuer = TestIssuer::new(ISSUER);
    let (signed, changed) = (issuer.token().sign(), issuer.token().scope("admin").unsigned());
    let forged = format!("{changed}.{}", signed.rsplit('.').next().unwrap());
    assert_eq!(verify(&issuer.verifier(), &forged).unwrap_err(), "signature");
}

#[test]
fn rejects_tokens_that_are_not_three_parts() {
    let issuer = TestIssuer::new(ISSUER);
    let good = issuer.token().sign();
    let (unsigned, signature) = good.rsplit_once('.').unwrap();
    for token in [
        String::new(),
        ".".into(),
        "..".into(),
        unsigned.to_owned(),
        format!("{unsigned}."),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!(".{good}"),
        format!("{unsigned}..{signature}"),
    ] {
        assert_eq!(verify(&issuer.verifier(), &token).unwrap_err(), "malformed", "{token}");
    }
}

#[test]
fn rejects_base64_in_any_other_spelling() {
    let issuer = TestIssuer::new(ISSUER);
    let good = issuer.token().sign();
    // 64 bytes leave four unused bits in the last character, and only one of sixteen spellings is canonical.
    let last = good.chars().last().unwrap();
    let sibling = ['A', 'Q', 'g', 'w'].iter().position(|c| *c == last).map(|at| ["B", "R", "h", "x"][at]).unwrap();
    let trailing_bits = format!("{}{sibling}", &good[..good.len() - 1]);
    let standard_alphabet = good.replacen('.', "+.", 1);
    for token in [format!("{good}=="), trailing_bits, standard_alphabet, format!("{good}\n"), format!(" {good}")] {
        assert_eq!(verify(&issuer.verifier(), &token).unwrap_err(), "malformed", "{token}");
    }
}

#[test]
fn rejects_a_token_over_the_size_limit_before_parsing_it() {
    assert_eq!(refused(|token| token.claim("padding", "x".repeat(8 * 1024))), "too_large");
    let issuer = TestIssuer::new(ISSUER);
    assert_eq!(verify(&issuer.verifier(), &"x".repeat(8 * 1024 + 1)).unwrap_err(), "too_large");
}

#[test]
fn rejects_alg_none_in_any_case_and_with_any_signature() {
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        assert_eq!(refused(|token| token.header("alg", alg)), "algorithm");
    }
    let issuer = TestIssuer::new(ISSUER);
    let unsigned = format!("{}.", issuer.token().header("alg", "none").unsigned());
    assert_eq!(verify(&issuer.verifier(), &unsigned).unwrap_err(), "malformed");
}

#[test]
fn rejects_symmetric_algorithms() {
    for alg in ["HS256", "HS384", "HS512", "ES256K", "A128GCM", "es256"] {
        assert_eq!(refused(|token| token.header("alg", alg)), "algorithm");
    }
}

#[test]
fn rejects_an_algorithm_that_is_not_the_keys_own() {
    for alg in ["ES384", "EdDSA", "RS256", "PS256"] {
        assert_eq!(refused(|token| token.header("alg", alg)), "algorithm");
    }
}

/// The issuer has keys on both curves, and may use every algorithm.
#[test]
fn es512_is_verified_with_a_key_on_p521_alone() {
    let (issuer, key) = (TestIssuer::new(ISSUER), Es512Key::generate());
    let jwks = [issuer.key().public_jwk().to_json(), key.jwk().to_string()];
    let keys = KeySet::from_jwks_one_by_one(jwks.iter().map(String::as_str));
    let trusting = |algorithms: Option<&[Algorithm]>| {
        let trusted = TrustedIssuer::fixed(ISSUER, keys.clone()).unwrap();
        let trusted = if let Some(algorithms) = algorithms { trusted.algorithms(algorithms) } else { trusted };
        Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap()
    };
    let verifier = trusting(Some(&Algorithm::ALL));
    let named = |token: TokenBuilder| token.header("alg", "ES512").header("kid", key.key_id());
    let token = key.sign(issuer.token());
    verify(&verifier, &token).unwrap();
    verify(&verifier, &issuer.token().sign()).unwrap();
    verify(&verifier, &signed_as_it_is(&key, &named(issuer.token()).without_header("kid"))).unwrap();
    let stranger = Es512Key::generate();
    for (what, forged, label) in [
        ("ES512 and a key on P-256", issuer.token().header("alg", "ES512").sign(), "algorithm"),
        ("ES256 and a key on P-521", signed_as_it_is(&key, &named(issuer.token()).header("alg", "ES256")), "algorithm"),
        ("another key on P-521", signed_as_it_is(&stranger, &named(issuer.token())), "signature"),
        ("a signature by P-256", named(issuer.token()).sign(), "signature"),
        ("no signature", format!("{}.", named(issuer.token()).unsigned()), "malformed"),
    ] {
        assert_eq!(verify(&verifier, &forged).unwrap_err(), label, "{what}");
    }
    // RFC 9068 tokens have an algorithm of this project's issuer, unless the program allows others.
    for refusing in [trusting(None), trusting(Some(&[Algorithm::Es256, Algorithm::Es384]))] {
        assert_eq!(verify(&refusing, &token).unwrap_err(), "algorithm");
    }
    verify(&trusting(Some(&[Algorithm::Es512])), &token).unwrap();
}

/// Leaves the header as the test has set it.
fn signed_as_it_is(key: &Es512Key, token: &TokenBuilder) -> String {
    let unsigned = token.unsigned();
    let signature = key.sign_bytes(unsigned.as_bytes());
    let encoder = &base64::engine::general_purpose::URL_SAFE_NO_PAD;
    format!("{unsigned}.{}", base64::Engine::encode(encoder, signature))
}

#[test]
fn rejects_an_algorithm_that_the_issuer_may_not_use() {
    let issuer = TestIssuer::new(ISSUER);
    let trusted = issuer.trusted().algorithms(&[Algorithm::EdDsa]);
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    assert_eq!(verify(&verifier, &issuer.token().sign()).unwrap_err(), "algorithm");
}

#[test]
fn rejects_a_missing_or_mistyped_alg() {
    assert_eq!(refused(|token| token.without_header("alg")), "malformed");
    for alg in [json!(1), json!(null), json!(["ES256"]), json!({ "alg": "ES256" })] {
        assert_eq!(refused(|token| token.header("alg", alg)), "malformed");
    }
}

#[test]
fn rejects_unknown_critical_extensions() {
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!("x"), json!(null)] {
        assert_eq!(refused(|token| token.header("crit", crit)), "header");
    }
    assert_eq!(refused(|token| token.header("b64", false)), "header");
}

#[test]
fn rejects_embedded_keys_and_addresses_of_keys() {
    let own: Value = serde_json::from_str(&TestIssuer::new(ISSUER).key().public_jwk().to_json()).unwrap();
    assert_eq!(refused(|token| token.header("jwk", own)), "header");
    assert_eq!(refused(|token| token.header("x5c", json!(["MIIB"]))), "header");
    for name in ["jku", "x5u"] {
        assert_eq!(refused(|token| token.header(name, "https://issuer.example/keys")), "header");
    }
}

#[test]
fn rejects_other_types_of_token() {
    for typ in ["JWT", "jwt", "dpop+jwt", "id+jwt", "at+jwt ", "application/jwt", "application/application/at+jwt", ""]
    {
        assert_eq!(refused(|token| token.header("typ", typ)), "type", "{typ}");
    }
    assert_eq!(refused(|token| token.without_header("typ")), "type");
    assert_eq!(refused(|token| token.header("typ", json!(["at+jwt"]))), "malformed");
}

#[test]
fn accepts_the_access_token_type_however_it_is_written() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        accepted(|token| token.header("typ", typ));
    }
}

#[test]
fn accepts_another_type_where_the_issuer_is_configured_so() {
    let issuer = TestIssuer::new(ISSUER);
    let trusted = issuer.trusted().profile(TokenProfile::rfc9068().types(["at+jwt", "JWT"]));
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    verify(&verifier, &issuer.token().header("typ", "JWT").sign()).unwrap();
    assert_eq!(verify(&verifier, &issuer.token().without_header("typ").sign()).unwrap_err(), "type");
}

#[test]
fn rejects_a_key_id_that_is_not_published() {
    assert_eq!(refused(|token| token.header("kid", "another")), "key_unknown");
    assert_eq!(refused(|token| token.header("kid", "")), "key_unknown");
    assert_eq!(refused(|token| token.header("kid", 7)), "malformed");
}

/// Returns a verifier that has these keys for `first`.
fn holding(first: &TestIssuer, jwks: &[String]) -> Verifier {
    let keys = KeySet::from_jwks_one_by_one(jwks.iter().map(String::as_str));
    let trusted = TrustedIssuer::fixed(ISSUER, keys).unwrap();
    Verifier::builder().issuer(trusted).clock(first.clock()).build().unwrap()
}

fn jwk_without_kid(issuer: &TestIssuer) -> String {
    let mut jwk: Value = serde_json::from_str(&issuer.key().public_jwk().to_json()).unwrap();
    jwk.as_object_mut().unwrap().remove("kid");
    jwk.to_string()
}

#[test]
fn token_without_key_id_fits_any_key_of_its_algorithm() {
    let (first, second) = (TestIssuer::new(ISSUER), TestIssuer::new(ISSUER));
    let other = TestIssuer::with_algorithm(ISSUER, Algorithm::EdDsa);
    let verifier = holding(&first, &[&first, &second, &other].map(|issuer| issuer.key().public_jwk().to_json()));
    let verifier_of_anonymous = holding(&first, &[jwk_without_kid(&first), jwk_without_kid(&second)]);
    for issuer in [&first, &second] {
        let token = issuer.token().without_header("kid").sign();
        verify(&verifier, &token).unwrap();
        verify(&verifier_of_anonymous, &token).unwrap();
    }
    let stranger = TestIssuer::new(ISSUER).token().without_header("kid").sign();
    assert_eq!(verify(&verifier, &stranger).unwrap_err(), "signature");
    let no_such = TestIssuer::with_algorithm(ISSUER, Algorithm::Es384).token().without_header("kid").sign();
    assert_eq!(verify(&verifier, &no_such).unwrap_err(), "key_unknown");
}

/// RFC 7517 section 4.5: key IDs SHOULD be distinct.
#[test]
fn several_keys_under_one_key_id_are_tried_up_to_a_bound() {
    let issuers: Vec<TestIssuer> = (0..6).map(|_| TestIssuer::new(ISSUER)).collect();
    let shared = |issuer: &TestIssuer| issuer.key().public_jwk().to_json().replace(&issuer.key_id(), "shared");
    let accepted = |of: &[TestIssuer]| {
        let verifier = holding(&of[0], &of.iter().map(shared).collect::<Vec<_>>());
        let token = |issuer: &TestIssuer| issuer.token().header("kid", "shared").sign();
        of.iter().filter(|issuer| verify(&verifier, &token(issuer)).is_ok()).count()
    };
    assert_eq!(accepted(&issuers[..2]), 2);
    assert_eq!(accepted(&issuers[..4]), 4);
    assert_eq!(accepted(&issuers), 4, "a set cannot make each token cost as many checks as it has keys");
}

#[test]
fn rejects_an_issuer_that_is_not_trusted_to_the_byte() {
    for iss in
        ["https://issuer.example/", "https://ISSUER.example", "http://issuer.example", "https://issuer.example.evil"]
    {
        assert_eq!(refused(|token| token.claim("iss", iss)), "issuer");
    }
}

#[test]
fn rejects_an_issuer_that_is_not_one_string() {
    for iss in [json!([ISSUER]), json!(["https://evil.example", ISSUER]), json!(1), json!(null), json!({}), json!("")] {
        assert_eq!(refused(|token| token.claim("iss", iss)), "malformed");
    }
    assert_eq!(refused(|token| token.without_claim("iss")), "malformed");
}

#[test]
fn rejects_a_token_for_another_audience() {
    for aud in [json!("orders"), json!("Inventory"), json!("inventory "), json!(["orders", "inventory.example"])] {
        assert_eq!(refused(|token| token.claim("aud", aud)), "audience");
    }
}

#[test]
fn rejects_a_mistyped_audience() {
    for aud in [json!(1), json!(null), json!({ "inventory": 1 }), json!([]), json!(["inventory", 1]), json!("")] {
        assert_eq!(refused(|token| token.claim("aud", aud)), "malformed");
    }
    assert_eq!(refused(|token| token.without_claim("aud")), "malformed");
}

#[test]
fn accepts_one_of_several_audiences() {
    accepted(|token| token.claim("aud", json!(["orders", "inventory"])));
}

#[test]
fn rejects_an_audience_that_the_issuer_may_not_speak_for() {
    let issuer = TestIssuer::new(ISSUER);
    let trusted = issuer.trusted().audiences(["billing"]);
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    assert_eq!(verify(&verifier, &issuer.token().sign()).unwrap_err(), "audience");
}

#[test]
fn rejects_missing_and_mistyped_required_claims() {
    for name in ["sub", "client_id", "jti"] {
        assert_eq!(refused(|token| token.without_claim(name)), "malformed", "{name}");
        for value in [json!(1), json!(null), json!(["x"]), json!("")] {
            assert_eq!(refused(|token| token.claim(name, value)), "malformed", "{name}");
        }
    }
    for name in ["exp", "iat"] {
        assert_eq!(refused(|token| token.without_claim(name)), "malformed", "{name}");
    }
}

#[test]
fn rejects_times_that_are_not_whole_numbers() {
    for name in ["exp", "iat", "nbf"] {
        let values = [
            json!("1767225600"),
            json!(1_767_225_600.5),
            json!(1e300),
            json!(-1),
            json!(null),
            json!([1_767_225_600]),
            json!(true),
            json!(u64::MAX),
            json!(253_402_300_800_u64),
        ];
        for value in values {
            assert_eq!(refused(|token| token.claim(name, value)), "malformed", "{name}");
        }
    }
}

#[test]
fn rejects_a_scope_that_is_not_text() {
    for scope in [json!(["a", "b"]), json!(1), json!(null)] {
        assert_eq!(refused(|token| token.claim("scope", scope)), "malformed");
    }
}

#[test]
fn rejects_expired_tokens_to_the_second() {
    let issuer = TestIssuer::new(ISSUER);
    let (verifier, token) = (issuer.verifier(), issuer.token().expires_in(Duration::from_secs(60)).sign());
    issuer.clock().advance(Duration::from_millis(64_999));
    verify(&verifier, &token).unwrap();
    issuer.clock().advance(Duration::from_millis(1));
    assert_eq!(verify(&verifier, &token).unwrap_err(), "expired");
}

#[test]
fn rejects_tokens_that_are_not_valid_yet_to_the_second() {
    let issuer = TestIssuer::new(ISSUER);
    let now = issuer.token().claims_json();
    let now = serde_json::from_str::<Value>(&now).unwrap()["iat"].as_u64().unwrap();
    let verifier = issuer.verifier();
    for (name, label) in [("nbf", "not_yet_valid"), ("iat", "issued_in_future")] {
        verify(&verifier, &issuer.token().claim(name, now + 5).sign()).unwrap();
        assert_eq!(verify(&verifier, &issuer.token().claim(name, now + 6).sign()).unwrap_err(), label);
    }
}

#[test]
fn the_leeway_is_bounded() {
    let issuer = TestIssuer::new(ISSUER);
    let builder = |seconds| Verifier::builder().issuer(issuer.trusted()).leeway(Duration::from_secs(seconds));
    builder(600).build().unwrap();
    builder(601).build().unwrap_err();
}

#[test]
fn rejects_repeated_members_in_header_and_claims() {
    let issuer = TestIssuer::new(ISSUER);
    let (header, claims) = (issuer.token().header_json(), issuer.token().claims_json());
    let twice = |json: &str, member: &str| format!("{},{member}}}", json.strip_suffix('}').unwrap());
    for member in [r#""alg":"ES256""#, r#""kid":"x""#, r#""k\u0069d":"x""#] {
        assert_eq!(refused(|token| token.raw_header(twice(&header, member))), "malformed");
    }
    for member in [r#""sub":"admin""#, r#""exp":99999999999"#, r#""\u0073ub":"admin""#, r#""x":{"a":1,"a":2}"#] {
        assert_eq!(refused(|token| token.raw_claims(twice(&claims, member))), "malformed");
    }
}

#[test]
fn rejects_header_and_claims_that_are_not_json_objects() {
    for bytes in [&b"[]"[..], b"\"x\"", b"null", b"", b"{} {}", b"\xff\xfe", b"{\"a\":", b"\xef\xbb\xbf{}"] {
        assert_eq!(refused(|token| token.raw_claims(bytes)), "malformed");
        assert_eq!(refused(|token| token.raw_header(bytes)), "malformed");
    }
}

#[test]
fn rejects_json_nested_too_deeply() {
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    assert_eq!(refused(|token| token.claim("x", deep)), "malformed");
}

#[test]
fn rejects_a_token_that_is_bound_to_a_key_of_the_sender() {
    assert_eq!(refused(|token| token.claim("cnf", json!({ "jkt": "x" }))), "sender_constrained");
}

#[test]
fn tells_the_chain_of_actors() {
    let issuer = TestIssuer::new(ISSUER);
    let act =
        json!({ "sub": "gateway", "client_id": "gateway", "act": { "sub": "frontend", "iss": "https://b.example" } });
    let verified = verify(&issuer.verifier(), &issuer.token().claim("act", act).sign()).unwrap();
    let chain: Vec<_> = verified.actors().iter().map(|actor| (actor.subject(), actor.issuer())).collect();
    assert_eq!(chain, [("gateway", None), ("frontend", Some("https://b.example"))]);
    for act in [json!("gateway"), json!({}), json!({ "sub": 1 }), json!({ "sub": "a", "act": [] }), json!(null)] {
        assert_eq!(refused(|token| token.claim("act", act)), "malformed");
    }
}

#[test]
fn rejects_revoked_tokens() {
    let issuer = TestIssuer::new(ISSUER);
    let revocations = Revocations::new();
    let trusted = issuer.trusted().revocations(revocations.clone());
    let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let (one, other) = (issuer.token().claim("jti", "one").sign(), issuer.token().claim("jti", "other").sign());
    verify(&verifier, &one).unwrap();
    revocations.revoke_token("one", verifier.now() + Duration::from_secs(300));
    assert_eq!(verify(&verifier, &one).unwrap_err(), "revoked");
    verify(&verifier, &other).unwrap();
    revocations.revoke_client("orders", verifier.now() + Duration::from_secs(1), verifier.now());
    assert_eq!(verify(&verifier, &other).unwrap_err(), "revoked");
    revocations.forget(verifier.now() + Duration::from_secs(300));
    verify(&verifier, &one).unwrap();
}

#[test]
fn a_token_of_one_issuer_signed_by_anothers_key_is_rejected() {
    let (first, second) = (TestIssuer::new("https://a.example"), TestIssuer::new("https://b.example"));
    let builder = Verifier::builder().issuer(first.trusted()).issuer(second.trusted());
    let verifier = builder.clock(first.clock()).build().unwrap();
    verify(&verifier, &first.token().sign()).unwrap();
    verify(&verifier, &second.token().sign()).unwrap();
    assert_eq!(verify(&verifier, &first.token().sign_with(second.key())).unwrap_err(), "signature");
    let borrowed_kid = first.token().header("kid", second.key_id()).sign_with(second.key());
    assert_eq!(verify(&verifier, &borrowed_kid).unwrap_err(), "key_unknown");
}

/// Otherwise a verifier would ask its issuer without a pause.
#[test]
fn key_set_intervals_are_a_second_at_least() {
    let discovered = || TrustedIssuer::discover("https://issuer.example").unwrap();
    for issuer in [discovered().max_age(Duration::ZERO), discovered().cooldown(Duration::from_millis(999))] {
        let error = Verifier::builder().issuer(issuer).build().unwrap_err();
        assert!(error.to_string().contains("a second at least"), "{error}");
    }
}

#[test]
fn an_issuer_named_twice_is_refused() {
    let issuer = TestIssuer::new(ISSUER);
    Verifier::builder().issuer(issuer.trusted()).issuer(issuer.trusted()).build().unwrap_err();
    Verifier::builder().build().unwrap_err();
}

#[test]
fn the_reasons_are_those_of_the_contract() {
    let issuer = TestIssuer::new(ISSUER);
    let reason = |token: String| {
        let verifier = issuer.verifier();
        verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap_err().reason()
    };
    assert_eq!(reason(issuer.token().audience("x").sign()), ErrorReason::TokenAudienceMismatch);
    assert_eq!(reason(issuer.token().header("kid", "x").sign()), ErrorReason::TokenKeyUnknown);
    assert_eq!(reason(issuer.token().claim("exp", 1).sign()), ErrorReason::TokenExpired);
    assert_eq!(reason("x".to_owned()), ErrorReason::TokenInvalid);
}

mod key_sets {
    //! Forbidden and harmless contents of a key set.

    use super::*;

    fn set_of(jwks: Value) -> KeySet {
        KeySet::from_jwks(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
    }

    fn jwk() -> Value {
        serde_json::from_str(&TestIssuer::new(ISSUER).key().public_jwk().to_json()).unwrap()
    }

    /// Returns the key with one member replaced.
    fn with(name: &str, value: Value) -> Value {
        let mut jwk = jwk();
        jwk[name] = value;
        jwk
    }

    #[test]
    fn one_bad_key_skips_only_itself() {
        let set = set_of(json!([jwk(), 7, null, {}, { "kty": "EC" }, jwk(), { "kty": "unheard-of", "kid": "x" }]));
        assert_eq!((set.len(), set.skipped()), (2, 5));
    }

    #[test]
    fn a_key_with_a_repeated_member_is_skipped() {
        let text = jwk().to_string();
        let twice = format!(r#"{},"use":"sig"}}"#, text.strip_suffix('}').unwrap());
        let set = KeySet::from_jwks(format!(r#"{{"keys":[{twice},{text}]}}"#).as_bytes()).unwrap();
        assert_eq!((set.len(), set.skipped()), (1, 1));
    }

    #[test]
    fn skips_keys_that_are_not_for_verifying() {
        for bad in [
            with("use", json!("enc")),
            with("use", json!(["sig"])),
            with("key_ops", json!(["encrypt"])),
            with("key_ops", json!("verify")),
            with("alg", json!("ES384")),
            with("alg", json!("HS256")),
            with("alg", json!("RSA-OAEP-256")),
            with("crv", json!("P-384")),
            with("crv", json!("secp256k1")),
            with("d", json!("AAAA")),
            with("x", json!("AAAA")),
            with("y", json!(1)),
            with("kid", json!(1)),
            json!({ "kty": "oct", "kid": "x", "k": "AAAA", "alg": "HS256" }),
            json!({ "kty": "RSA", "kid": "x", "e": "AQAB", "n": "A".repeat(171) }),
        ] {
            let set = set_of(json!([bad]));
            assert!(set.is_empty(), "{bad}");
        }
    }

    #[test]
    fn a_token_signed_with_a_point_off_the_curve_is_refused_not_a_panic() {
        let issuer = TestIssuer::new(ISSUER);
        let bad = json!([{ "kty": "EC", "crv": "P-256", "kid": issuer.key_id(), "alg": "ES256",
            "x": "A".repeat(43), "y": "A".repeat(43) }]);
        let trusted = TrustedIssuer::fixed(ISSUER, set_of(bad)).unwrap();
        let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
        assert_eq!(verify(&verifier, &issuer.token().sign()).unwrap_err(), "key_unknown");
    }

    fn base64url(octets: &[u8]) -> String {
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, octets)
    }

    /// RFC 7518 section 6.3.1.1 forbids the habit, but half of the key sets from Java have it.
    #[test]
    fn leading_zero_octets_of_rsa_numbers_are_ignored() {
        let modulus = [0xd5; 256];
        for zeros in 0..4 {
            let n = [vec![0; zeros], modulus.to_vec()].concat();
            let e = [vec![0; zeros], vec![1, 0, 1]].concat();
            let jwk = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "n": base64url(n), "e": base64url(e) });
            let thumbprint = |jwk: Value| signature::thumbprint(jwk.as_object().unwrap());
            let padded = jwk(&n, &e);
            assert_eq!(set_of(json!([padded])).len(), 1, "{zeros}");
            assert_eq!(thumbprint(padded), thumbprint(jwk(&modulus, &[1, 0, 1])), "{zeros}");
            let key = |jwk: Value| VerifyingKey::from_jwk(jwk.as_object().unwrap()).unwrap();
            assert!(key(jwk(&n, &e)) == key(jwk(&modulus, &[1, 0, 1])), "{zeros}");
        }
    }

    #[test]
    fn skips_keys_that_ring_rejects_at_each_signature() {
        let rsa = |n: &[u8], e: &[u8]| json!({ "kty": "RSA", "n": base64url(n), "e": base64url(e) });
        let odd = [0xd5; 256];
        let even = [&odd[..255], &[2]].concat();
        for bad in [
            rsa(&even, &[1, 0, 1]),
            rsa(&[], &[1, 0, 1]),
            rsa(&[0; 256], &[1, 0, 1]),
            rsa(&[&[0][..], &odd[..255]].concat(), &[1, 0, 1]),
            rsa(&[0xd5; 1025], &[1, 0, 1]),
            rsa(&odd, &[]),
            rsa(&odd, &[0]),
            rsa(&odd, &[1]),
            rsa(&odd, &[2]),
            rsa(&odd, &[2, 0, 0, 0, 1]),
            json!({ "kty": "EC", "crv": "P-384", "x": base64url(&[1; 48]), "y": base64url(&[1; 48]) }),
        ] {
            let set = set_of(json!([bad]));
            assert!(set.is_empty() && set.skipped() == 1, "{bad}");
        }
    }

    #[test]
    fn documents_that_are_no_key_set_are_refused() {
        for document in [
            "",
            "[]",
            "[[]]",
            " [[ ] ]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[]} x"#,
            "<html>",
        ] {
            assert!(KeySet::from_jwks(document.as_bytes()).is_err(), "{document}");
        }
    }

    #[test]
    fn an_rsa_key_under_2048_bits_verifies_nothing() {
        // 2047 bits: 256 bytes, the first below 0x80.
        let modulus = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, [0x7f; 256]);
        let set = set_of(json!([{ "kty": "RSA", "kid": "x", "e": "AQAB", "n": modulus, "alg": "RS256" }]));
        let trusted = TrustedIssuer::fixed(ISSUER, set).unwrap();
        let issuer = TestIssuer::new(ISSUER);
        let verifier = Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
        let token = issuer.token().header("alg", "RS256").header("kid", "x").sign();
        assert_eq!(verify(&verifier, &token).unwrap_err(), "signature");
    }

    #[test]
    fn signing_keys_of_other_issuers_are_not_confused_by_a_shared_kid() {
        let (first, second) = (TestIssuer::new(ISSUER), TestIssuer::with_algorithm(ISSUER, Algorithm::EdDsa));
        let mut borrowed: Value = serde_json::from_str(&second.key().public_jwk().to_json()).unwrap();
        borrowed["kid"] = json!(first.key_id());
        let own: Value = serde_json::from_str(&first.key().public_jwk().to_json()).unwrap();
        let trusted = TrustedIssuer::fixed(ISSUER, set_of(json!([own, borrowed]))).unwrap();
        let verifier = Verifier::builder().issuer(trusted).clock(first.clock()).build().unwrap();
        verify(&verifier, &first.token().sign()).unwrap();
        let token: TokenBuilder = second.token().header("kid", first.key_id());
        verify(&verifier, &token.sign_with(second.key() as &SigningKey)).unwrap();
    }
}

#[test]
fn plaintext_to_another_machine_is_refused_before_anything_is_sent() {
    let refused = |trusted: TrustedIssuer| Verifier::builder().issuer(trusted).build().is_err();
    let endpoint = || tonic::transport::Endpoint::from_static("http://issuer.example");
    assert!(refused(TrustedIssuer::discover("http://issuer.example").unwrap()));
    assert!(refused(TrustedIssuer::jwks(ISSUER, "http://issuer.example/keys").unwrap()));
    assert!(refused(TrustedIssuer::grpc(ISSUER, endpoint()).unwrap()));
    assert!(refused(TrustedIssuer::watch(ISSUER, endpoint()).unwrap()));
    for url in ["http://issuer.example", "not a URL", ""] {
        assert!(refused(TrustedIssuer::watch(ISSUER, url).unwrap()), "{url}");
        assert!(refused(TrustedIssuer::grpc(ISSUER, url).unwrap()), "{url}");
    }
    for issuer in ["https://issuer.example?x", "https://issuer.example#x", "issuer.example", "ftp://issuer.example"] {
        assert!(refused(TrustedIssuer::discover(issuer).unwrap()), "{issuer}");
    }
}

#[test]
fn identity_tokens_need_no_client_id_and_no_jti_and_are_of_their_own_types_alone() {
    let issuer = TestIssuer::new(ISSUER);
    let trusting = |trusted: TrustedIssuer| Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let verifier = trusting(issuer.trusted().profile(TokenProfile::identity(["JWT"])));
    let good = || issuer.token().header("typ", "JWT").without_claim("client_id").without_claim("jti");
    let verified = verify(&verifier, &good().sign()).unwrap();
    assert_eq!((verified.subject(), verified.client_id(), verified.token_id()), ("orders", "", ""));
    for (change, label) in [
        (good().without_claim("sub"), "malformed"),
        (good().without_claim("exp"), "malformed"),
        (good().without_claim("aud"), "malformed"),
        (good().header("typ", "at+jwt"), "type"),
        (good().without_header("typ"), "type"),
    ] {
        assert_eq!(verify(&verifier, &change.sign()).unwrap_err(), label);
    }
    let untyped = trusting(issuer.trusted().profile(TokenProfile::identity(["JWT"]).untyped()));
    verify(&untyped, &good().without_header("typ").sign()).unwrap();
    assert_eq!(verify(&untyped, &good().header("typ", "at+jwt").sign()).unwrap_err(), "type");
}

/// Returns a verifier that reads its issuer's tokens by `profile`.
fn of_another_maker(issuer: &TestIssuer, profile: TokenProfile) -> Verifier {
    let trusted = issuer.trusted().profile(profile);
    Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap()
}

#[test]
fn foreign_tokens_may_have_what_rfc_7515_and_7519_allow() {
    let issuer = TestIssuer::new(ISSUER);
    let access = of_another_maker(&issuer, TokenProfile::rfc7519());
    let identity = of_another_maker(&issuer, TokenProfile::identity(["at+jwt"]));
    let own = issuer.verifier();
    let iat = serde_json::from_str::<Value>(&issuer.token().claims_json()).unwrap()["iat"].as_f64().unwrap();
    for (name, change) in [
        ("jku", issuer.token().header("jku", "https://uaa.example/keys")),
        ("x5c", issuer.token().header("x5c", json!(["MIIB"]))),
        ("x5u", issuer.token().header("x5u", "https://idp.example/certificate")),
        ("a fraction in exp", issuer.token().claim("exp", iat + 60.5)),
        ("a fraction in iat", issuer.token().claim("iat", iat + 0.5)),
        ("a fraction in nbf", issuer.token().claim("nbf", iat + 0.5)),
        ("no iat", issuer.token().without_claim("iat")),
        ("an iat that is text", issuer.token().claim("iat", "now")),
        ("a list of scopes", issuer.token().claim("scope", json!(["a.read", "b"]))),
        ("a scope that is no text", issuer.token().claim("scope", 1)),
        ("an act of its own", issuer.token().claim("act", "x")),
        ("200 groups", issuer.token().claim("groups", vec!["6fa459ea-ee8a-3ca4-894e-db77e160355e"; 200])),
    ] {
        let token = change.sign();
        verify(&access, &token).unwrap_or_else(|label| panic!("{name}: {label}"));
        verify(&identity, &token).unwrap_or_else(|label| panic!("{name}: {label}"));
        verify(&own, &token).expect_err(name);
    }
    for claim in ["jti", "client_id"] {
        verify(&identity, &issuer.token().claim(claim, 1).sign()).unwrap();
        verify(&access, &issuer.token().claim(claim, 1).sign()).unwrap_err();
    }
    let listed = verify(&access, &issuer.token().claim("scope", json!(["a.read", "b", 1])).sign()).unwrap();
    assert_eq!(listed.scopes().collect::<Vec<_>>(), ["a.read", "b"]);
}

#[test]
fn foreign_tokens_are_held_to_everything_that_decides() {
    let issuer = TestIssuer::new(ISSUER);
    let verifier = of_another_maker(&issuer, TokenProfile::rfc7519());
    let stranger = TestIssuer::new(ISSUER);
    let own: Value = serde_json::from_str(&stranger.key().public_jwk().to_json()).unwrap();
    for (label, token) in [
        ("signature", issuer.token().header("jwk", own).sign_with(stranger.key())),
        ("header", issuer.token().header("crit", json!(["exp"])).sign()),
        ("header", issuer.token().header("b64", false).sign()),
        ("malformed", issuer.token().without_claim("exp").sign()),
        ("malformed", issuer.token().claim("exp", "1767225600.5").sign()),
        ("malformed", issuer.token().claim("exp", 1e300).sign()),
        ("malformed", issuer.token().claim("exp", -0.5).sign()),
        ("malformed", issuer.token().claim("nbf", -0.5).sign()),
        ("malformed", issuer.token().claim("nbf", 253_402_300_800_u64).sign()),
        ("malformed", issuer.token().claim("nbf", json!(null)).sign()),
        ("malformed", issuer.token().claim("act", json!({ "sub": 1 })).sign()),
        ("malformed", issuer.token().without_claim("client_id").sign()),
        ("sender_constrained", issuer.token().claim("cnf", json!({ "jkt": "x" })).sign()),
        ("too_large", issuer.token().claim("padding", "x".repeat(32 * 1024)).sign()),
        ("audience", issuer.token().audience("x").sign()),
        ("type", issuer.token().header("typ", "JWT").sign()),
    ] {
        assert_eq!(verify(&verifier, &token).unwrap_err(), label);
    }
}

#[test]
fn fractions_of_foreign_times_are_rounded_towards_refusal() {
    let issuer = TestIssuer::new(ISSUER);
    let verifier = of_another_maker(&issuer, TokenProfile::rfc7519());
    let iat = serde_json::from_str::<Value>(&issuer.token().claims_json()).unwrap()["iat"].as_f64().unwrap();
    // The leeway of 5 seconds.
    verify(&verifier, &issuer.token().claim("exp", iat - 4.0).sign()).unwrap();
    assert_eq!(verify(&verifier, &issuer.token().claim("exp", iat - 4.1).sign()).unwrap_err(), "expired");
    verify(&verifier, &issuer.token().claim("nbf", iat + 4.9).sign()).unwrap();
    assert_eq!(verify(&verifier, &issuer.token().claim("nbf", iat + 5.1).sign()).unwrap_err(), "not_yet_valid");
}

#[test]
fn each_issuer_has_its_own_bound_on_tokens() {
    let (own, foreign) = (TestIssuer::new(ISSUER), TestIssuer::new("https://other.example"));
    let bounded = TestIssuer::new("https://bounded.example");
    let builder = Verifier::builder()
        .clock(own.clock())
        .issuer(own.trusted())
        .issuer(foreign.trusted().profile(TokenProfile::rfc7519()));
    let verifier = builder.issuer(bounded.trusted().token_bytes_max(1000)).build().unwrap();
    let long = |issuer: &TestIssuer, bytes: usize| issuer.token().claim("padding", "x".repeat(bytes)).sign();
    for (issuer, fits, too_long) in [(&own, 4000, 8000), (&foreign, 20_000, 32_000), (&bounded, 100, 1000)] {
        verify(&verifier, &long(issuer, fits)).unwrap();
        assert_eq!(verify(&verifier, &long(issuer, too_long)).unwrap_err(), "too_large");
    }
}

#[test]
fn a_refusal_names_the_member_and_what_was_expected() {
    let issuer = TestIssuer::new(ISSUER);
    let verifier = issuer.verifier();
    let told = |token: TokenBuilder| {
        let token = token.sign();
        let error = verifier.verify(UnverifiedToken::new(&token), "inventory", verifier.now()).unwrap_err();
        let detail = error.detail().unwrap_or_else(|| panic!("{error}"));
        assert!(error.to_string().contains(detail.expected()), "{error}");
        (detail.name().to_owned(), detail.came().to_owned(), detail.expected().to_owned())
    };
    for name in ["sub", "client_id", "jti", "iss"] {
        let (claim, came, expected) = told(issuer.token().without_claim(name));
        assert_eq!((&*claim, &*came, &*expected), (name, "nothing", "text"));
    }
    let (claim, came, expected) = told(issuer.token().audience("orders"));
    assert_eq!((&*claim, &*came, &*expected), ("aud", r#""orders""#, r#""inventory""#));
    let (claim, came, expected) = told(issuer.token().header("typ", "JWT"));
    assert_eq!((&*claim, &*came, &*expected), ("typ", r#""JWT""#, r#"one of ["at+jwt"]"#));
    let (claim, came, _) = told(issuer.token().claim("iss", "https://\nother.example"));
    assert_eq!((&*claim, &*came), ("iss", r#""https://\nother.example""#));
    let (claim, came, _) = told(issuer.token().claim("iss", "x".repeat(5000)));
    assert_eq!((&*claim, came.chars().count()), ("iss", 96 + 3));
    let (claim, came, _) = told(issuer.token().claim("sub", json!({ "name": "Alice" })));
    assert_eq!((&*claim, &*came), ("sub", "an object"));
    for (name, value) in [("exp", json!(1)), ("nbf", json!(4_102_444_800_u64)), ("iat", json!("soon"))] {
        assert_eq!(told(issuer.token().claim(name, value)).0, name);
    }
    assert_eq!(told(issuer.token().header("kid", "x")).0, "kid");
    assert_eq!(told(issuer.token().header("alg", "HS256")).0, "alg");
    assert_eq!(told(issuer.token().header("jku", "https://x")).0, "jku");
}

#[test]
fn no_error_of_a_verifier_quotes_a_password() {
    for issuer in
        ["https://user:secret@issuer.example", "user:secret@issuer.example", "ftp://user:secret@issuer.example"]
    {
        let trusted = TrustedIssuer::discover(issuer).unwrap();
        let discovered = Verifier::builder().issuer(trusted).build().unwrap_err();
        let jwks = TrustedIssuer::jwks("https://issuer.example", issuer).unwrap_err();
        let watched = TrustedIssuer::watch("https://issuer.example", issuer).unwrap();
        let watched = Verifier::builder().issuer(watched).build().unwrap_err();
        for error in [discovered, jwks, watched] {
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("secret"), "{issuer}: {shown}");
        }
    }
}
