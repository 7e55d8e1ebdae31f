//! Public keys as JWK: RFC 7517, RFC 7518 section 6, RFC 8037 section 2; thumbprints: RFC 7638.
//!
//! The types are `jsonwebtoken`'s. Its reader and its thumbprint are not used: see ADR 21.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, EllipticCurveKeyType, Jwk,
    KeyOperations, OctetKeyPairParameters, OctetKeyPairType, PublicKeyUse, RSAKeyParameters, RSAKeyType,
};
use ring::digest;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{Algorithm, KeyError, VerifyingKey, verifying::Public};

/// Members that only a private or a symmetric key has: RFC 7518 sections 6.2.2, 6.3.2 and 6.4.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// A public signing key, ready to be written into a key set: with `kid`, `alg` and `use`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PublicJwk {
    jwk: Jwk,
    #[serde(skip)]
    key_id: String,
}

impl PublicJwk {
    /// `point` is uncompressed: 0x04, x, y.
    pub(super) fn ec(algorithm: Algorithm, point: &[u8]) -> Self {
        let curve = if algorithm == Algorithm::Es384 { EllipticCurve::P384 } else { EllipticCurve::P256 };
        let coordinates = point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Self::new(algorithm, ec(curve, encode(x), encode(y)))
    }

    pub(super) fn ed25519(x: &[u8]) -> Self {
        Self::new(Algorithm::EdDsa, okp(encode(x)))
    }

    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Self {
        Self::new(algorithm, rsa(encode(n), encode(e)))
    }

    /// The public half of a key that signs elsewhere, written anew in canonical form.
    pub(super) fn of(key: &VerifyingKey) -> Self {
        match key.public() {
            Public::Point(x) if key.algorithm() == Algorithm::EdDsa => Self::ed25519(x),
            Public::Point(point) => Self::ec(key.algorithm(), point),
            Public::Rsa { n, e } => Self::rsa(key.algorithm(), n, e),
        }
    }

    fn new(algorithm: Algorithm, parameters: AlgorithmParameters) -> Self {
        let key_id = thumbprint_of(&parameters).unwrap_or_default();
        let common = CommonParameters {
            public_key_use: Some(PublicKeyUse::Signature),
            key_algorithm: Some(jsonwebtoken::Algorithm::from(algorithm).into()),
            key_id: Some(key_id.clone()),
            ..CommonParameters::default()
        };
        Self { jwk: Jwk { common, algorithm: parameters }, key_id }
    }

    /// Returns the key ID: the key's RFC 7638 thumbprint with SHA-256.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the JWK as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the JWK as `jsonwebtoken` has it.
    #[must_use]
    pub fn as_jwk(&self) -> &Jwk {
        &self.jwk
    }

    /// Returns the key that verifies with it.
    ///
    /// # Errors
    ///
    /// When the key is too weak to be one: [`VerifyingKey::from_jwk`].
    pub fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::try_from(&self.jwk)
    }
}

/// Reads a public JWK, with the reason where it is none.
pub(super) fn read(members: &Map<String, Value>) -> Result<Jwk, KeyError> {
    if PRIVATE_MEMBERS.iter().any(|member| members.contains_key(*member)) {
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
        key_algorithm: algorithm.map(|algorithm| jsonwebtoken::Algorithm::from(algorithm).into()),
        key_id,
        ..CommonParameters::default()
    };
    Ok(Jwk { common, algorithm: parameters })
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

fn ec(curve: EllipticCurve, x: String, y: String) -> AlgorithmParameters {
    AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters { key_type: EllipticCurveKeyType::EC, curve, x, y })
}

fn okp(x: String) -> AlgorithmParameters {
    let (key_type, curve) = (OctetKeyPairType::OctetKeyPair, EllipticCurve::Ed25519);
    AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters { key_type, curve, x })
}

fn rsa(n: String, e: String) -> AlgorithmParameters {
    AlgorithmParameters::RSA(RSAKeyParameters { key_type: RSAKeyType::RSA, n, e })
}

/// The required members only, in lexicographic order (RFC 7638 section 3).
fn thumbprint_of(parameters: &AlgorithmParameters) -> Option<String> {
    let curve = |curve: &EllipticCurve| match curve {
        EllipticCurve::P256 => Some("P-256"),
        EllipticCurve::P384 => Some("P-384"),
        EllipticCurve::Ed25519 => Some("Ed25519"),
        EllipticCurve::P521 | _ => None,
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
        ("OKP", Some("Ed25519")) => okp(bytes("x")?),
        ("RSA", _) => rsa(number("n")?, number("e")?),
        _ => return None,
    })
}

fn encode(bytes: &[u8]) -> String {
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
