//! Tokens with a valid signature and invalid claims.

use serde_json::{Value, json};
use token_proto::token::v1::ErrorReason;

use super::{FAR, Workshop};
use crate::clock::{Clock as _, numeric_date};

pub(super) fn forge(workshop: &mut Workshop<'_>) {
    issuers(workshop);
    audiences(workshop);
    times(workshop);
    required(workshop);
    others(workshop);
}

fn issuers(workshop: &mut Workshop<'_>) {
    let issuer = workshop.issuer.issuer().to_owned();
    for (name, iss) in [
        ("iss_other", json!("https://evil.example")),
        ("iss_with_slash", json!(format!("{issuer}/"))),
        ("iss_in_capitals", json!(issuer.to_uppercase())),
        ("iss_with_suffix", json!(format!("{issuer}.evil.example"))),
        ("iss_with_user", json!(issuer.replacen("://", "://user@", 1))),
        ("iss_is_a_list", json!([issuer])),
        ("iss_is_a_list_with_a_stranger", json!(["https://evil.example", issuer])),
        ("iss_is_an_object", json!({ "iss": issuer })),
        ("iss_is_null", json!(null)),
    ] {
        let token = workshop.token().claim("iss", iss).sign();
        workshop.add(name, "RFC 9068 section 4: exactly the issuer, one string", token);
    }
}

fn audiences(workshop: &mut Workshop<'_>) {
    let audience = workshop.audience.to_owned();
    for (name, aud) in [
        ("aud_other", json!("elsewhere")),
        ("aud_with_suffix", json!(format!("{audience}.evil.example"))),
        ("aud_with_prefix", json!(format!("x{audience}"))),
        ("aud_in_capitals", json!(audience.to_uppercase())),
        ("aud_with_space", json!(format!("{audience} elsewhere"))),
    ] {
        let token = workshop.token().claim("aud", aud).sign();
        workshop.add_as(ErrorReason::TokenAudienceMismatch, name, "RFC 9068 section 4: for another audience", token);
    }
    for (name, aud) in [
        ("aud_empty_list", json!([])),
        ("aud_is_a_number", json!(1)),
        ("aud_is_an_object", json!({ "aud": audience })),
        ("aud_is_null", json!(null)),
        ("aud_with_a_number", json!([audience, 1])),
    ] {
        let token = workshop.token().claim("aud", aud).sign();
        workshop.add(name, "RFC 7519 section 4.1.3: a string, or strings", token);
    }
}

fn times(workshop: &mut Workshop<'_>) {
    let now = numeric_date(workshop.issuer.clock().now());
    let token = workshop.token().claim("iat", now - 7200).claim("exp", now - 3600).sign();
    workshop.add_as(ErrorReason::TokenExpired, "expired", "an hour ago", token);
    let token = workshop.token().claim("exp", 0).sign();
    workshop.add_as(ErrorReason::TokenExpired, "expired_in_1970", "zero is a time, not \"never\"", token);
    let token = workshop.token().claim("nbf", FAR - 1).sign();
    workshop.add("not_valid_yet", "RFC 7519 section 4.1.5", token);
    let token = workshop.token().claim("iat", FAR - 1).sign();
    workshop.add("issued_in_the_future", "no honest issuer writes it", token);
    let why = "RFC 7519 section 2: a time is a number; here whole, not negative, and not beyond the year 9999";
    for (name, claim, value) in [
        ("exp_is_text", "exp", json!(FAR.to_string())),
        ("exp_is_a_date", "exp", json!("2100-01-01T00:00:00Z")),
        ("exp_is_a_fraction", "exp", json!(4_102_444_800.5)),
        ("exp_is_infinite", "exp", json!(1e300)),
        ("exp_is_negative", "exp", json!(-1)),
        ("exp_is_null", "exp", json!(null)),
        ("exp_overflows", "exp", json!(u64::MAX)),
        ("nbf_is_text", "nbf", json!("0")),
        ("nbf_is_null", "nbf", json!(null)),
        ("iat_is_text", "iat", json!("0")),
        ("iat_is_a_fraction", "iat", json!(1.5)),
    ] {
        let token = workshop.token().claim(claim, value).sign();
        workshop.add(name, why, token);
    }
}

fn required(workshop: &mut Workshop<'_>) {
    let why = "RFC 9068 section 2.2: required";
    for (name, claim) in [
        ("iss_missing", "iss"),
        ("aud_missing", "aud"),
        ("exp_missing", "exp"),
        ("iat_missing", "iat"),
        ("sub_missing", "sub"),
        ("client_id_missing", "client_id"),
        ("jti_missing", "jti"),
    ] {
        let token = workshop.token().without_claim(claim).sign();
        workshop.add(name, why, token);
    }
    for (name, claim, value) in [
        ("sub_is_a_number", "sub", json!(0)),
        ("sub_empty", "sub", json!("")),
        ("sub_is_a_list", "sub", json!(["orders"])),
        ("client_id_is_null", "client_id", json!(null)),
        ("jti_is_a_number", "jti", json!(1)),
    ] {
        let token = workshop.token().claim(claim, value).sign();
        workshop.add(name, "RFC 9068 section 2.2: a string", token);
    }
}

fn others(workshop: &mut Workshop<'_>) {
    let token = workshop.token().claim("scope", json!(["admin"])).sign();
    workshop.add("scope_is_a_list", "RFC 8693 section 4.2: one string", token);
    let token = workshop.token().claim("cnf", json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" })).sign();
    workshop.add("bound_to_a_key", "RFC 9449 section 7.1: valid only with proof of its key", token);
    let token = workshop.token().claim("act", json!("admin")).sign();
    workshop.add("act_is_text", "RFC 8693 section 4.1: an object", token);
    for (name, claims) in [
        ("claim_twice", repeated(workshop, r#""sub":"admin""#)),
        ("claim_twice_behind_an_escape", repeated(workshop, r#""\u0073ub":"admin""#)),
        ("time_twice", repeated(workshop, r#""exp":4102444800"#)),
        ("member_twice_inside", repeated(workshop, r#""x":{"a":1,"a":2}"#)),
    ] {
        let token = workshop.token().raw_claims(claims).sign();
        workshop.add(name, "RFC 7519 section 4: two parsers, two answers", token);
    }
    let deep = (0..100).fold(json!(1), |inner, _| Value::from(vec![inner]));
    let token = workshop.token().claim("x", deep).sign();
    workshop.add("nested_a_hundred_deep", "a parser's stack is not the caller's to fill", token);
}

/// Returns the claims with one more member at their end.
fn repeated(workshop: &Workshop<'_>, member: &str) -> String {
    let claims = workshop.token().claims_json();
    format!("{},{member}}}", claims.trim_end_matches('}'))
}
