//! For each check a token that fails only that check: one mutation of a good one.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::time::Duration;

use serde_json::{Value, json};
use token_interceptor::{
    key_set::KeySet,
    revocation::Revocations,
    signature::{Algorithm, SigningKey},
    test_util::{TestIssuer, TokenBuilder},
    token::{UnverifiedToken, VerifiedToken},
    verify::{TrustedIssuer, Verifier},
};
use token_proto::token::v1::ErrorReason;

const ISSUER: &str = "https://issuer.example";

fn verify(verifier: &Verifier, token: &str) -> Result<VerifiedToken, &'static str> {
    let verified = verifier.verify(UnverifiedToken::new(token), "inventory", verifier.now());
    verified.map_err(|error| error.label())
}

/// Applies one change to a good token, and tells which check refused it.
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
    // 64 bytes leave four bits unused in the last character: only one of sixteen spellings is canonical.
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
    for alg in ["HS256", "HS384", "HS512", "ES256K", "ES512", "A128GCM", "es256"] {
        assert_eq!(refused(|token| token.header("alg", alg)), "algorithm");
    }
}

#[test]
fn rejects_an_algorithm_that_is_not_the_keys_own() {
    for alg in ["ES384", "EdDSA", "RS256", "PS256"] {
        assert_eq!(refused(|token| token.header("alg", alg)), "algorithm");
    }
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
fn rejects_critical_extensions_known_to_nobody() {
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
    let trusted = issuer.trusted().also_accept_type("JWT");
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

#[test]
fn a_token_without_key_id_fits_only_the_one_key_of_its_algorithm() {
    let (first, second) = (TestIssuer::new(ISSUER), TestIssuer::new(ISSUER));
    let token = first.token().without_header("kid").sign();
    verify(&first.verifier(), &token).unwrap();
    let both = [first.key(), second.key()].map(|key| key.public_jwk().to_json());
    let keys = KeySet::from_jwks_one_by_one(both.iter().map(String::as_str));
    let trusted = TrustedIssuer::fixed(ISSUER, keys).unwrap();
    let verifier = Verifier::builder().issuer(trusted).clock(first.clock()).build().unwrap();
    assert_eq!(verify(&verifier, &token).unwrap_err(), "algorithm");
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
    //! What a key set may not contain, and what it may contain without harm.

    use super::*;

    fn set_of(jwks: Value) -> KeySet {
        KeySet::from_jwks(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
    }

    fn jwk() -> Value {
        serde_json::from_str(&TestIssuer::new(ISSUER).key().public_jwk().to_json()).unwrap()
    }

    /// The key with one member replaced.
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
        assert_eq!(verify(&verifier, &issuer.token().sign()).unwrap_err(), "signature");
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
    for issuer in ["https://issuer.example?x", "https://issuer.example#x", "issuer.example", "ftp://issuer.example"] {
        assert!(refused(TrustedIssuer::discover(issuer).unwrap()), "{issuer}");
    }
}

#[test]
fn identity_tokens_need_no_client_id_and_no_jti_and_are_of_their_own_types_alone() {
    let issuer = TestIssuer::new(ISSUER);
    let trusting = |trusted: TrustedIssuer| Verifier::builder().issuer(trusted).clock(issuer.clock()).build().unwrap();
    let verifier = trusting(issuer.trusted().identity_tokens(["JWT"]));
    let good = || issuer.token().header("typ", "JWT").without_claim("client_id").without_claim("jti");
    let verified = verify(&verifier, &good().sign()).unwrap();
    assert_eq!((verified.subject(), verified.client_id(), verified.token_id()), ("orders", "", ""));
    for (change, label) in [
        (good().without_claim("sub"), "malformed"),
        (good().claim("jti", 1), "malformed"),
        (good().claim("client_id", ""), "malformed"),
        (good().without_claim("iat"), "malformed"),
        (good().header("typ", "at+jwt"), "type"),
        (good().without_header("typ"), "type"),
    ] {
        assert_eq!(verify(&verifier, &change.sign()).unwrap_err(), label);
    }
    let untyped = trusting(issuer.trusted().identity_tokens(["JWT"]).untyped());
    verify(&untyped, &good().without_header("typ").sign()).unwrap();
    assert_eq!(verify(&untyped, &good().header("typ", "at+jwt").sign()).unwrap_err(), "type");
}
