//! JWKs: the parameters of public keys (RFC 7517, RFC 7518 section 6, RFC 8037 section 2), and thumbprints
//! (RFC 7638).
//!
//! The types are `jsonwebtoken`'s. Its reader and its thumbprint are not used: see ADR 21.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    KeyOperations, OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse, RSAKeyParameters, RSAKeyType,
};
use ring::digest;
use serde_json::{Map, Value};

use super::{Algorithm, KeyError};

/// Members that only a private or a symmetric key has: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Reads a public JWK and its `alg`, with the reason where it is none. The `alg` stands beside the JWK, as
/// `jsonwebtoken` has no ES512.
pub(super) fn read(members: &Map<String, Value>) -> Result<(Jwk, Option<Algorithm>), KeyError> {
    if has_private_member(members) {
        return Err(KeyError::UnusableJwk("it has a private member"));
    }
    let public_key_use = match members.get("use") {
        None => None,
        Some(Value::String(key_use)) if key_use == "sig" => Some(PublicKeyUse::Signature),
        Some(_) => return Err(KeyError::UnusableJwk("its use is not sig")),
    };
    let key_operations = match members.get("key_ops") {
        None => None,
        Some(Value::Array(operations)) if operations.iter().any(|operation| operation == "verify") => {
            Some(vec![KeyOperations::Verify])
        }
        Some(_) => return Err(KeyError::UnusableJwk("its key_ops do not allow verify")),
    };
    let key_id = optional_text(members, "kid")?.map(str::to_owned);
    let algorithm = match optional_text(members, "alg")? {
        None => None,
        Some(name) => Some(Algorithm::from_name(name).ok_or(KeyError::UnusableJwk("its alg is not supported"))?),
    };
    let parameters = match optional_text(members, "kty")? {
        Some("EC") => {
            let curve = match optional_text(members, "crv")? {
                Some("P-256") => EllipticCurve::P256,
                Some("P-384") => EllipticCurve::P384,
                Some("P-521") => EllipticCurve::P521,
                _ => return Err(KeyError::UnusableJwk("its crv is not supported")),
            };
            ec(curve, text(members, "x")?, text(members, "y")?)
        }
        Some("OKP") => match optional_text(members, "crv")? {
            Some("Ed25519") => okp(text(members, "x")?),
            _ => return Err(KeyError::UnusableJwk("its crv is not supported")),
        },
        Some("RSA") => rsa(text(members, "n")?, text(members, "e")?),
        _ => return Err(KeyError::UnusableJwk("its kty is not EC, OKP or RSA")),
    };
    let common = CommonParameters {
        public_key_use,
        key_operations,
        key_algorithm: algorithm.and_then(Algorithm::as_key_algorithm),
        key_id,
        ..CommonParameters::default()
    };
    Ok((Jwk { common, algorithm: parameters }, algorithm))
}

/// Returns true for a JWK with a member that only a private or a symmetric key has.
#[must_use]
pub fn has_private_member(jwk: &Map<String, Value>) -> bool {
    PRIVATE_MEMBERS.iter().any(|member| jwk.contains_key(*member))
}

fn optional_text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, KeyError> {
    match members.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(KeyError::UnusableJwk("a member has the wrong type")),
    }
}

fn text(members: &Map<String, Value>, name: &str) -> Result<String, KeyError> {
    optional_text(members, name)?.map(str::to_owned).ok_or(KeyError::UnusableJwk("a key parameter is missing"))
}

pub(super) fn ec(curve: EllipticCurve, x: String, y: String) -> AlgorithmParameters {
    AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { key_type: EllipticCurveKeyType::EC, curve, x, y })
}

pub(super) fn okp(x: String) -> AlgorithmParameters {
    let (key_type, curve) = (OctetKeyPairType::OctetKeyPair, EllipticCurve::Ed25519);
    AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters { key_type, curve, x })
}

pub(super) fn rsa(n: String, e: String) -> AlgorithmParameters {
    AlgorithmParameters::RSA(RSAKeyParameters { key_type: RSAKeyType::RSA, n, e })
}

/// The required members only, in lexicographic order (RFC 7638 section 3).
pub(super) fn thumbprint_of(parameters: &AlgorithmParameters) -> Option<String> {
    let curve = |curve: &EllipticCurve| match curve {
        EllipticCurve::P256 => Some("P-256"),
        EllipticCurve::P384 => Some("P-384"),
        EllipticCurve::P521 => Some("P-521"),
        EllipticCurve::Ed25519 => Some("Ed25519"),
        _ => None,
    };
    let canonical = match parameters {
        AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { curve: crv, x, y, .. }) => {
            format!(r#"{{"crv":"{}","kty":"EC","x":"{x}","y":"{y}"}}"#, curve(crv)?)
        }
        AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters { curve: crv, x, .. }) => {
            format!(r#"{{"crv":"{}","kty":"OKP","x":"{x}"}}"#, curve(crv)?)
        }
        AlgorithmParameters::RSA(RSAKeyParameters { n, e, .. }) => {
            format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#)
        }
        AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => return None,
    };
    Some(encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref()))
}

/// Returns the RFC 7638 thumbprint (SHA-256) of a foreign JWK, or `None` for kinds of key that do not sign
/// tokens. It is computed from the decoded bytes, so the encoding does not matter.
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| jwk.get(name)?.as_str();
    let bytes = |name: &str| Some(encode(&URL_SAFE_NO_PAD.decode(text(name)?).ok()?));
    // RFC 7638 section 3.3: one key has one thumbprint, although some issuers write leading zero octets.
    let number = |name: &str| {
        let octets = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
        Some(encode(&octets.into_iter().skip_while(|octet| *octet == 0).collect::<Vec<_>>()))
    };
    thumbprint_of(&match (text("kty")?, text("crv")) {
        ("EC", Some("P-256")) => ec(EllipticCurve::P256, bytes("x")?, bytes("y")?),
        ("EC", Some("P-384")) => ec(EllipticCurve::P384, bytes("x")?, bytes("y")?),
        ("EC", Some("P-521")) => ec(EllipticCurve::P521, bytes("x")?, bytes("y")?),
        ("OKP", Some("Ed25519")) => okp(bytes("x")?),
        ("RSA", _) => rsa(number("n")?, number("e")?),
        _ => return None,
    })
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::thumbprint;
    use crate::json;

    /// RFC 7638 section 3.1.
    #[test]
    fn thumbprint_matches_the_example_of_rfc_7638() {
        let jwk = json::object(
            br#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#,
        )
        .unwrap();
        assert_eq!(thumbprint(&jwk).as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    }
}
