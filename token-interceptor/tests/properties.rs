//! Properties: arbitrary bytes cause no panic, and only a valid token is accepted.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::sync::LazyLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};
use token_interceptor::{
    bearer::bearer, json, key_set::KeySet, test_util::TestIssuer, token::UnverifiedToken, verify::Verifier,
};

static ISSUER: LazyLock<TestIssuer> = LazyLock::new(|| TestIssuer::new("https://issuer.example"));
static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| ISSUER.verifier());

fn is_accepted(token: &str) -> bool {
    VERIFIER.verify(UnverifiedToken::new(token), "inventory", VERIFIER.now()).is_ok()
}

/// Any JSON, a few levels deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("inventory")),
        Just(json!("https://issuer.example")),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,4}", inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_text_is_a_token(text in ".{0,200}") {
        prop_assert!(!is_accepted(&text));
    }

    #[test]
    fn no_three_parts_are_a_token(header in any_json(), claims in any_json(), signature in any::<[u8; 64]>()) {
        let parts = [header.to_string().into_bytes(), claims.to_string().into_bytes(), signature.to_vec()];
        prop_assert!(!is_accepted(&parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")));
    }

    #[test]
    fn any_change_of_one_character_is_refused(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9_.=-]") {
        let good = ISSUER.token().sign();
        let mut changed = good.clone();
        let at = at.index(good.len());
        changed.replace_range(at..=at, &to);
        prop_assert_eq!(is_accepted(&changed), changed == good);
    }

    #[test]
    fn a_required_claim_has_one_type(name in "iss|sub|client_id|aud|exp|iat|jti", value in any_json()) {
        let fits = match name.as_str() {
            "iss" => value == "https://issuer.example",
            "aud" => value == "inventory"
                || value.as_array().is_some_and(|all| all.iter().all(Value::is_string) && all.iter().any(|one| one == "inventory")),
            "exp" | "iat" => return Ok(()),
            _ => value.as_str().is_some_and(|text| !text.is_empty()),
        };
        prop_assert_eq!(is_accepted(&ISSUER.token().claim(&name, value).sign()), fits);
    }

    #[test]
    fn a_time_of_any_type_never_panics(name in "exp|iat|nbf", value in any_json()) {
        let accepted = is_accepted(&ISSUER.token().claim(&name, value.clone()).sign());
        prop_assert!(!accepted || value.is_u64());
    }

    #[test]
    fn a_header_parameter_of_any_type_never_panics(name in "alg|typ|kid|crit|jwk|jku|x5c|x5u|b64|zip", value in any_json()) {
        let accepted = is_accepted(&ISSUER.token().header(&name, value.clone()).sign());
        prop_assert!(!accepted || name == "zip");
    }

    #[test]
    fn claims_without_a_meaning_are_let_through_unchanged(value in any_json()) {
        let token = ISSUER.token().claim("x", value.clone()).sign();
        let verified = VERIFIER.verify(UnverifiedToken::new(&token), "inventory", VERIFIER.now()).unwrap();
        // Parsed from text, as the token was, so that floating-point numbers compare equal.
        let written: Value = serde_json::from_str(&value.to_string()).unwrap();
        prop_assert_eq!(&verified.claims()["x"], &written);
    }

    #[test]
    fn any_key_set_is_read_or_refused(document in any_json(), keys in prop::collection::vec(any_json(), 0..6)) {
        let _ = KeySet::from_jwks(document.to_string().as_bytes());
        let set = KeySet::from_jwks(json!({ "keys": keys.clone() }).to_string().as_bytes()).unwrap();
        prop_assert_eq!(set.len() + set.skipped(), keys.len());
    }

    #[test]
    fn any_mutation_of_a_key_is_read_or_skipped(
        name in "kty|crv|x|y|n|e|alg|use|key_ops|kid|d|k",
        value in prop_oneof![any_json(), Just(json!("sig")), Just(json!("RSA")), Just(json!("OKP"))],
    ) {
        let mut jwk: Value = serde_json::from_str(&ISSUER.key().public_jwk().to_json()).unwrap();
        jwk[name] = value;
        let set = KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        prop_assert_eq!(set.len() + set.skipped(), 1);
    }

    #[test]
    fn any_authorization_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
            if let Ok(token) = bearer(&headers) {
                prop_assert!(bytes[..6].eq_ignore_ascii_case(b"bearer") && !token.expose().is_empty());
            }
        }
    }

    #[test]
    fn strict_json_reads_what_serde_json_reads_or_less(text in prop_oneof![
        any_json().prop_map(|value| value.to_string()),
        "[\\[\\]{}\",:0-9a-z\\\\ ]{0,60}",
    ]) {
        if let Ok(members) = json::object(text.as_bytes()) {
            prop_assert_eq!(Value::Object(members), serde_json::from_str::<Value>(&text).unwrap());
        }
    }
}
