//! The examples of the RFCs, and forged signatures and keys. Test builds have the feature `es512`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    json,
    signature::{Algorithm, KeyError, SigningKey, VerifyingKey, thumbprint},
    test_util::Es512Key,
};

/// The curve's order: SEC 2 section 2.6.1.
const ORDER: &str = "Af__________________________________________-lGGh4O_L5Zrf8wBSPcJpdA7tcm4iZxHrrtvtx6ROGQJ";
/// A point with x = 1, and the same x with the field's prime added.
const Y_AT_1: &str = "ABDlm-k8TyacAmnHnir9ZdauqptwHqzBlPs-4D30eEm_VQ7GNuvuDd1KFvHNlAZgWvOPWEVndw4_Jy1ojIMuhDVk";
const X_1: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB";
const X_1_AND_PRIME: &str = "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn key(jwk: &Value) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_jwk(jwk.as_object().unwrap())
}

fn unusable(jwk: &Value) -> &'static str {
    let Err(KeyError::UnusableJwk(reason)) = key(jwk) else { panic!("another verdict on {jwk}") };
    reason
}

fn decoded(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap()
}

/// Adds two numbers of 66 octets.
fn sum(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits: Vec<u8> = (one.iter().zip(other).rev())
        .map(|(one, other)| {
            let total = u16::from(*one) + u16::from(*other) + carry;
            carry = total >> 8;
            total.to_le_bytes()[0]
        })
        .collect();
    assert_eq!((digits.len(), carry), (66, 0));
    digits.reverse();
    digits
}

/// RFC 7515 appendix A.4 and RFC 7520 section 4.3.
#[test]
fn examples_of_the_rfcs_hold_and_of_no_other_key() {
    let examples = [
        (
            "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
            "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2",
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
            "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
        ),
        (
            "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
            "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1",
            "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4",
            "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
        ),
    ];
    let keys = examples.map(|(x, y, ..)| key(&json!({ "kty": "EC", "crv": "P-521", "x": x, "y": y })).unwrap());
    for (at, (_, _, message, signature)) in examples.into_iter().enumerate() {
        for (of, key) in keys.iter().enumerate() {
            assert_eq!(key.algorithm(), Algorithm::Es512);
            assert_eq!(key.verifies(message.as_bytes(), &decoded(signature)), of == at);
        }
    }
}

#[test]
fn signature_fails_with_one_bit_flipped_in_r_or_s() {
    let signer = Es512Key::generate();
    let (key, signature) = (key(&signer.jwk()).unwrap(), signer.sign_bytes(b"message"));
    assert!(key.verifies(b"message", &signature));
    assert!(!key.verifies(b"massage", &signature));
    for number in [0, 66] {
        // The seven highest bits of a number are zero.
        for (octet, bit) in [(0, 0x80), (0, 2), (0, 1), (33, 0x10), (65, 1)] {
            let mut flipped = signature.clone();
            flipped[number + octet] ^= bit;
            assert!(!key.verifies(b"message", &flipped), "octet {octet} of the number at {number}");
        }
    }
}

#[test]
fn signature_fails_with_r_or_s_out_of_range() {
    let signer = Es512Key::generate();
    let (key, signature) = (key(&signer.jwk()).unwrap(), signer.sign_bytes(b"message"));
    let (r, s) = signature.split_at(66);
    let (zero, order) = (vec![0; 66], decoded(ORDER));
    for (what, r, s) in [
        ("r is zero", zero.clone(), s.to_vec()),
        ("s is zero", r.to_vec(), zero.clone()),
        ("both are zero", zero.clone(), zero),
        ("r is the order", order.clone(), s.to_vec()),
        ("s is the order", r.to_vec(), order.clone()),
        ("both are the order", order.clone(), order.clone()),
        // 66 octets have room for it, so a verifier that reduces the number would accept it.
        ("r and the order", sum(r, &order), s.to_vec()),
        ("s and the order", r.to_vec(), sum(s, &order)),
        ("both are the largest number", vec![0xff; 66], vec![0xff; 66]),
    ] {
        assert!(!key.verifies(b"message", &[r, s].concat()), "{what}");
    }
}

#[test]
fn signature_fails_in_any_other_length_or_form() {
    let signer = Es512Key::generate();
    let (key, signature) = (key(&signer.jwk()).unwrap(), signer.sign_bytes(b"message"));
    let (r, s) = signature.split_at(66);
    let der = p521::ecdsa::Signature::from_slice(&signature).unwrap().to_der();
    for (what, other) in [
        ("empty", vec![]),
        ("r alone", r.to_vec()),
        ("without its first octet", signature[1..].to_vec()),
        ("without its last octet", signature[..131].to_vec()),
        ("with a leading zero", [&[0], r, s].concat()),
        ("with a trailing zero", [r, s, &[0]].concat()),
        ("numbers of 67 octets", [&[0], r, &[0], s].concat()),
        ("numbers without the leading octet", [&r[1..], &s[1..]].concat()),
        ("DER", der.as_bytes().to_vec()),
    ] {
        assert!(!key.verifies(b"message", &other), "{what}");
    }
}

#[test]
fn key_is_a_point_on_the_curve_in_full_length() {
    let good = json!({ "kty": "EC", "crv": "P-521", "x": X_1, "y": Y_AT_1 });
    key(&good).unwrap();
    let with = |name: &str, octets: Vec<u8>| {
        let mut jwk = good.clone();
        jwk[name] = URL_SAFE_NO_PAD.encode(octets).into();
        jwk
    };
    let (x, y) = (decoded(X_1), decoded(Y_AT_1));
    let length = "a coordinate does not have the curve's length";
    for name in ["x", "y"] {
        let octets = if name == "x" { &x } else { &y };
        for other in [vec![], octets[1..].to_vec(), [&[0], octets.as_slice()].concat(), octets[..48].to_vec()] {
            assert_eq!(unusable(&with(name, other)), length, "{name}");
        }
    }
    let off = "its coordinates are not a point on the curve";
    for (name, other) in [
        ("x", sum(&x, &[&[0; 65][..], &[1]].concat())),
        ("x", y.clone()),
        ("x", decoded(X_1_AND_PRIME)),
        ("x", vec![0xff; 66]),
        ("y", vec![0; 66]),
        ("y", sum(&y, &[&[0; 65][..], &[1]].concat())),
    ] {
        assert_eq!(unusable(&with(name, other.clone())), off, "{name} {other:?}");
    }
    let infinity = json!({ "kty": "EC", "crv": "P-521", "x": "A".repeat(88), "y": "A".repeat(88) });
    assert_eq!(unusable(&infinity), off);
}

#[test]
fn curve_and_algorithm_belong_together() {
    let p521 = Es512Key::generate().jwk();
    let der = SigningKey::generate_pkcs8(Algorithm::Es256).unwrap();
    let p256 = SigningKey::from_der(Algorithm::Es256, &der).unwrap().public_jwk().to_json();
    let p256 = Value::Object(json::object(p256.as_bytes()).unwrap());
    let with = |jwk: &Value, name: &str, value: &str| {
        let mut jwk = jwk.clone();
        jwk[name] = value.into();
        jwk
    };
    assert_eq!(key(&p521).unwrap().algorithm(), Algorithm::Es512);
    for (jwk, alg) in [(&p521, "ES256"), (&p521, "ES384"), (&p521, "EdDSA"), (&p521, "RS512"), (&p256, "ES512")] {
        assert_eq!(unusable(&with(jwk, "alg", alg)), "its alg does not belong to its crv", "{alg}");
    }
    for (jwk, crv) in [(&p521, "P-256"), (&p521, "P-384"), (&p256, "P-521")] {
        let mut jwk = with(jwk, "crv", crv);
        jwk.as_object_mut().unwrap().remove("alg");
        assert_eq!(unusable(&jwk), "a coordinate does not have the curve's length", "{crv}");
    }
    let rsa = json!({ "kty": "RSA", "alg": "ES512", "n": "1".repeat(342), "e": "AQAB" });
    assert_eq!(unusable(&rsa), "its alg does not belong to its kty");
    let okp = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "ES512", "x": "1".repeat(43) });
    assert_eq!(unusable(&okp), "its alg does not belong to its crv");
    assert_eq!(unusable(&with(&p521, "d", "AA")), "it has a private member");
}

/// `jsonwebtoken` reads `ES512` as an unknown algorithm, so the curve alone decides there.
#[test]
fn key_of_jsonwebtoken_has_no_alg() {
    let mut jwk = Es512Key::generate().jwk();
    let unknown: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
    assert_eq!(VerifyingKey::try_from(&unknown).unwrap_err(), KeyError::UnusableJwk("its alg is not supported"));
    jwk.as_object_mut().unwrap().remove("alg");
    let silent: jsonwebtoken::jwk::Jwk = serde_json::from_value(jwk.clone()).unwrap();
    let read = VerifyingKey::try_from(&silent).unwrap();
    assert_eq!(read.algorithm(), Algorithm::Es512);
    assert!(read == key(&jwk).unwrap());
    assert_eq!(thumbprint(jwk.as_object().unwrap()).as_deref(), read.key_id());
}
