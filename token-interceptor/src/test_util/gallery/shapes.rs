//! Texts that are not a compact JWS of two JSON objects.

use serde_json::json;

use super::{Workshop, encode};

pub(super) fn forge(workshop: &mut Workshop<'_>) {
    parts(workshop);
    contents(workshop);
    let token = workshop.token().claim("padding", "x".repeat(8 * 1024)).sign();
    workshop.add("too_large", "over 8 KiB: more than any token needs", token);
}

fn parts(workshop: &mut Workshop<'_>) {
    let good = workshop.token().sign();
    let mut three = good.split('.');
    let mut part = || three.next().unwrap_or_default().to_owned();
    let (header, claims, signature) = (part(), part(), part());
    let json_form = json!({ "protected": header, "payload": claims, "signature": signature }).to_string();
    for (name, why, token) in [
        ("four_parts", "RFC 7515 section 7.1: three", format!("{good}.{signature}")),
        ("five_parts", "a JWE is not what was asked for", format!("{good}.{claims}.{signature}")),
        ("leading_dot", "four parts, the first empty", format!(".{good}")),
        ("header_empty", "RFC 7515 section 5.2", format!(".{claims}.{signature}")),
        ("claims_empty", "RFC 7515 section 5.2", format!("{header}..{signature}")),
        ("json_serialization", "RFC 7515 section 7.2: never in a header field", json_form),
        ("standard_alphabet", "base64 is not base64url", format!("{header}+/.{claims}.{signature}")),
        ("header_padded", "RFC 7515 section 2", format!("{header}=.{claims}.{signature}")),
        ("claims_padded", "RFC 7515 section 2", format!("{header}.{claims}=.{signature}")),
        ("not_base64", "no part is decodable", "header.claims.signature!".to_owned()),
        ("one_word", "an opaque token is not for this verifier", "2YotnFZFEjr1zCsicMWpAA".to_owned()),
    ] {
        workshop.add(name, why, token);
    }
}

fn contents(workshop: &mut Workshop<'_>) {
    let header = workshop.token().header_json();
    let claims = workshop.token().claims_json();
    for (name, bytes) in [
        ("claims_are_a_list", b"[]".to_vec()),
        ("claims_are_text", encode(b"{}").into_bytes()),
        ("claims_are_a_string", b"\"{}\"".to_vec()),
        ("claims_are_null", b"null".to_vec()),
        ("claims_are_not_utf8", b"{\"sub\":\"\xff\"}".to_vec()),
        ("claims_cut_short", claims.trim_end_matches('}').as_bytes().to_vec()),
        ("claims_with_a_tail", format!("{claims} {claims}").into_bytes()),
        ("claims_with_a_comment", format!("/**/{claims}").into_bytes()),
        ("claims_with_a_byte_order_mark", format!("\u{feff}{claims}").into_bytes()),
    ] {
        let token = workshop.token().raw_claims(bytes).sign();
        workshop.add(name, "RFC 7519 section 7.2: one JSON object in UTF-8", token);
    }
    let twice = |member: &str| format!("{},{member}}}", header.trim_end_matches('}'));
    for (name, bytes) in [
        ("header_is_a_list", "[]".to_owned()),
        ("header_with_a_tail", format!("{header}x")),
        ("alg_twice", twice(r#""alg":"none""#)),
        ("alg_twice_behind_an_escape", twice(r#""\u0061lg":"none""#)),
        ("kid_twice", twice(r#""kid":"another""#)),
        ("typ_twice", twice(r#""typ":"JWT""#)),
    ] {
        let token = workshop.token().raw_header(bytes).sign();
        workshop.add(name, "RFC 7515 section 4: one JSON object, no member twice", token);
    }
}
