//! Tokens with a valid signature whose header asks for something forbidden.

use serde_json::{Value, json};
use token_proto::token::v1::ErrorReason;

use super::{Workshop, encode};

pub(super) fn forge(workshop: &mut Workshop<'_>) {
    keys(workshop);
    key_ids(workshop);
    extensions(workshop);
    types(workshop);
    algorithms(workshop);
}

fn keys(workshop: &mut Workshop<'_>) {
    let jwk: Value = serde_json::from_str(&workshop.stranger.key().public_jwk().to_json()).unwrap_or_default();
    let stranger = workshop.stranger.key_id();
    for (name, why, parameter, value) in [
        ("key_embedded", "CVE-2018-0114: the token brings its own key", "jwk", jwk),
        ("key_elsewhere", "the token says where its key is", "jku", json!("https://evil.example/keys")),
        ("certificate_embedded", "the token brings its own certificate", "x5c", json!(["MIIB"])),
        ("certificate_elsewhere", "the token says where its certificate is", "x5u", json!("https://evil.example/pem")),
    ] {
        let token = workshop.token().header("kid", stranger.clone()).header(parameter, value);
        let token = token.sign_with(workshop.stranger.key());
        workshop.add(name, why, token);
    }
}

fn key_ids(workshop: &mut Workshop<'_>) {
    for (name, why, kid) in [
        ("kid_unknown", "the issuer does not publish it", "another"),
        ("kid_empty", "the issuer does not publish it", ""),
        ("kid_is_a_path", "a key ID taken for a file with known content", "../../../../dev/null"),
        ("kid_is_sql", "a key ID taken for a part of a query", "x' UNION SELECT 'secret' --"),
        ("kid_is_a_url", "a key ID taken for the address of a key", "https://evil.example/key"),
    ] {
        let token = workshop.token().header("kid", kid).sign_with(workshop.stranger.key());
        workshop.add_as(ErrorReason::TokenKeyUnknown, name, why, token);
    }
    for (name, kid) in [("kid_is_a_number", json!(7)), ("kid_is_a_list", json!([workshop.issuer.key_id()]))] {
        let token = workshop.token().header("kid", kid).sign();
        workshop.add(name, "RFC 7515 section 4.1.4: a string", token);
    }
}

fn extensions(workshop: &mut Workshop<'_>) {
    let why = "RFC 7515 section 4.1.11: an extension that is not understood must be refused";
    for (name, crit) in [
        ("crit_unknown", json!(["https://evil.example/extension"])),
        ("crit_known_name", json!(["exp"])),
        ("crit_empty", json!([])),
        ("crit_mistyped", json!("exp")),
    ] {
        let token = workshop.token().header("crit", crit).header("exp", 1).sign();
        workshop.add(name, why, token);
    }
    let token = workshop.token().header("crit", json!(["b64"])).header("b64", false);
    let unsigned = format!("{}.{}", encode(token.header_json().as_bytes()), token.claims_json().replace('.', ""));
    let signature = workshop.issuer.key().sign_bytes(unsigned.as_bytes()).unwrap_or_default();
    let token = format!("{unsigned}.{}", encode(&signature));
    workshop.add("payload_unencoded", "RFC 7797 section 7: not for tokens", token);
}

fn types(workshop: &mut Workshop<'_>) {
    let why = "RFC 9068 section 4: another kind of token";
    for (name, typ) in [
        ("typ_jwt", json!("JWT")),
        ("typ_of_an_id_token", json!("id_token")),
        ("typ_of_a_logout_token", json!("logout+jwt")),
        ("typ_of_a_dpop_proof", json!("dpop+jwt")),
        ("typ_of_a_security_event", json!("secevent+jwt")),
        ("typ_empty", json!("")),
        ("typ_is_a_list", json!(["at+jwt"])),
    ] {
        let token = workshop.token().header("typ", typ).sign();
        workshop.add(name, why, token);
    }
    let token = workshop.token().without_header("typ").sign();
    workshop.add("typ_missing", "RFC 9068 section 4: it could be anything", token);
}

fn algorithms(workshop: &mut Workshop<'_>) {
    for (name, alg) in [
        ("alg_of_another_curve", json!("ES384")),
        ("alg_of_another_kind_of_key", json!("RS256")),
        ("alg_in_small_letters", json!("es256")),
        ("alg_unknown", json!("ES256K")),
        ("alg_empty", json!("")),
        ("alg_is_null", json!(null)),
        ("alg_is_a_list", json!(["ES256"])),
    ] {
        let token = workshop.token().header("alg", alg).sign();
        workshop.add(name, "RFC 8725 section 3.1: not the key's own algorithm", token);
    }
    let token = workshop.token().without_header("alg").sign();
    workshop.add("alg_missing", "RFC 7515 section 4.1.1: required", token);
}
