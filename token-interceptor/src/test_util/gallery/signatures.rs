//! Tokens whose signature the issuer's key did not make over their content.

use ring::hmac;
use token_proto::token::v1::ErrorReason;

use super::{SHARED_SECRET, Workshop, encode};
use crate::{signature::PublicJwk, test_util::TokenBuilder};

pub(super) fn forge(workshop: &mut Workshop<'_>) {
    missing(workshop);
    symmetric(workshop);
    foreign(workshop);
    spelled_otherwise(workshop);
}

fn missing(workshop: &mut Workshop<'_>) {
    for (name, alg) in [("alg_none", "none"), ("alg_none_capitalised", "None"), ("alg_none_in_capitals", "NONE")] {
        let token = format!("{}.", workshop.token().header("alg", alg).unsigned());
        workshop.add(name, "unsigned: RFC 8725 section 3.1, CVE-2015-9235", token);
    }
    let token = workshop.token().header("alg", "none").sign();
    workshop.add("alg_none_with_a_signature", "unsigned, in spite of what follows", token);
    let token = format!("{}.", workshop.token().unsigned());
    workshop.add("signature_empty", "CVE-2020-28042: an empty signature taken for none needed", token);
    let token = workshop.token().unsigned();
    workshop.add("signature_part_missing", "two parts are no JWS", token);
}

fn symmetric(workshop: &mut Workshop<'_>) {
    let why = "CVE-2016-10555: the public key taken for an HMAC secret";
    let jwk = workshop.issuer.key().public_jwk();
    let token = hmac(&workshop.token(), jwk.to_json().as_bytes());
    workshop.add("hs256_keyed_with_the_public_jwk", why, token);
    let token = hmac(&workshop.token(), &point(&jwk));
    workshop.add("hs256_keyed_with_the_public_point", why, token);
    let token = hmac(&workshop.token(), pem(&jwk).as_bytes());
    workshop.add("hs256_keyed_with_the_public_pem", why, token);
    let token = hmac(&workshop.token(), b"");
    workshop.add("hs256_keyed_with_nothing", "an empty secret", token);
    let token = hmac(&workshop.token().header("kid", "shared"), SHARED_SECRET);
    workshop.add("hs256_keyed_with_a_published_secret", "a symmetric key in a public key set is public", token);
}

fn foreign(workshop: &mut Workshop<'_>) {
    let token = workshop.token().sign_with(workshop.stranger.key());
    workshop.add("signed_by_a_stranger", "another key under the issuer's key ID", token);
    let stranger = workshop.stranger.key_id();
    let token = workshop.token().header("kid", stranger).sign_with(workshop.stranger.key());
    workshop.add_as(ErrorReason::TokenKeyUnknown, "signed_by_a_strangers_own_key", "an unpublished key ID", token);
    let encryption = workshop.encryption.key_id();
    let token = workshop.token().header("kid", encryption).sign_with(workshop.encryption.key());
    workshop.add_as(
        ErrorReason::TokenKeyUnknown,
        "signed_by_an_encryption_key",
        "RFC 7517 section 4.2: use enc is not for signatures",
        token,
    );
    let (other, changed) = (workshop.token().sign(), workshop.token().scope("admin").unsigned());
    let token = format!("{changed}.{}", last_part(&other));
    workshop.add("claims_changed_after_signing", "the signature is another token's", token);
    let changed = workshop.token().header("x", 1).unsigned();
    let token = format!("{changed}.{}", last_part(&other));
    workshop.add("header_changed_after_signing", "the header is signed too", token);
    let token = format!("{}.{}", workshop.token().unsigned(), encode(&[0; 64]));
    workshop.add("signature_of_zeros", "CVE-2022-21449: r and s of zero fit every message", token);
    let token = format!("{}.{}", workshop.token().unsigned(), encode(&[0xff; 64]));
    workshop.add("signature_out_of_range", "r and s beyond the curve's order", token);
}

fn spelled_otherwise(workshop: &mut Workshop<'_>) {
    let good = workshop.token().sign();
    let (unsigned, signature) = good.rsplit_once('.').unwrap_or_default();
    let raw = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, signature);
    let raw = raw.unwrap_or_default();
    let token = format!("{unsigned}.{}", encode(&der(&raw)));
    workshop.add("signature_in_der", "RFC 7518 section 3.4: r and s, not ASN.1", token);
    workshop.add("signature_padded", "RFC 7515 section 2: base64url without padding", format!("{good}=="));
    let token = format!("{unsigned}.{}", encode(&[raw.as_slice(), &[0]].concat()));
    workshop.add("signature_too_long", "65 bytes", token);
    let token = format!("{unsigned}.{}", encode(raw.get(..63).unwrap_or_default()));
    workshop.add("signature_cut_short", "63 bytes", token);
    // The last of 86 characters holds two bits; one bit of the other four is set here.
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = good.chars().last().and_then(|last| ALPHABET.find(last)).unwrap_or_default();
    let sibling = ALPHABET.chars().nth(last + 1).unwrap_or('B');
    let token = format!("{}{sibling}", good.get(..good.len() - 1).unwrap_or_default());
    workshop.add("signature_with_loose_bits", "RFC 4648 section 3.5: a second spelling of the same bytes", token);
}

fn hmac(token: &TokenBuilder, secret: &[u8]) -> String {
    let unsigned = token.clone().header("alg", "HS256").unsigned();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), unsigned.as_bytes());
    format!("{unsigned}.{}", encode(tag.as_ref()))
}

fn last_part(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or_default()
}

/// Returns the uncompressed point of an EC key.
fn point(jwk: &PublicJwk) -> Vec<u8> {
    let jwk: serde_json::Value = serde_json::from_str(&jwk.to_json()).unwrap_or_default();
    let part = |name: &str| {
        let text = jwk.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
        base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, text).unwrap_or_default()
    };
    [&[4], part("x").as_slice(), part("y").as_slice()].concat()
}

/// Returns the P-256 key as a PEM file holds it: RFC 5480 section 2.
fn pem(jwk: &PublicJwk) -> String {
    const SPKI: [u8; 26] = [
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
        0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
    ];
    let der = [SPKI.as_slice(), &point(jwk)].concat();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
    let (first, second) = base64.split_at_checked(64).unwrap_or((&base64, ""));
    format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n")
}

/// Encodes r and s as an ASN.1 sequence of integers: X.690 section 8.3.
fn der(raw: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let sign: &[u8] = if digits.first().is_some_and(|byte| *byte >= 0x80) { &[0] } else { &[] };
        let length = u8::try_from(sign.len() + digits.len()).unwrap_or_default();
        [&[2, length], sign, digits.as_slice()].concat()
    };
    let (r, s) = raw.split_at_checked(32).unwrap_or_default();
    let both = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(both.len()).unwrap_or_default()], both.as_slice()].concat()
}
