//! Conversion of a public key in certificates and PEM files (SubjectPublicKeyInfo, RFC 5280 section 4.1.2.7)
//! to a JWK (RFC 7518 section 6).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use x509_parser::{
    prelude::FromDer as _,
    public_key::{PublicKey, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

/// RFC 8410 section 3.
const ED25519: &str = "1.3.101.112";
/// RFC 5480 section 2.1.1.1.
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";
const P521: &str = "1.3.132.0.35";

/// Returns the key as a JWK. `None` for a kind of key that cannot sign assertions here.
pub(super) fn jwk(der: &[u8]) -> Option<Map<String, Value>> {
    let (_, info) = SubjectPublicKeyInfo::from_der(der).ok()?;
    if info.algorithm.algorithm.to_id_string() == ED25519 {
        let x = URL_SAFE_NO_PAD.encode(&info.subject_public_key.data);
        return Some(members([("kty", "OKP".to_owned()), ("crv", "Ed25519".to_owned()), ("x", x)]));
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the other kinds of key sign no assertions here")]
    match info.parsed().ok()? {
        PublicKey::RSA(key) => Some(rsa(&key)),
        PublicKey::EC(point) => {
            let (curve, bytes) = match info.algorithm.parameters.as_ref()?.as_oid().ok()?.to_id_string().as_str() {
                P256 => ("P-256", 32),
                P384 => ("P-384", 48),
                P521 => ("P-521", 66),
                _ => return None,
            };
            // SEC 1 section 2.3.3: the byte 4, then the two coordinates. Compressed points are not supported.
            let (x, y) = point.data().strip_prefix(&[4])?.split_at_checked(bytes)?;
            let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
            Some(members([("kty", "EC".to_owned()), ("crv", curve.to_owned()), ("x", x), ("y", y)]))
        }
        _ => None,
    }
}

fn rsa(key: &RSAPublicKey<'_>) -> Map<String, Value> {
    // DER writes a leading zero before a high bit. RFC 7518 section 6.3.1.1 forbids it in a JWK.
    let [n, e] = [key.modulus, key.exponent].map(|number| {
        let zeros = number.iter().take_while(|octet| **octet == 0).count();
        URL_SAFE_NO_PAD.encode(number.get(zeros..).unwrap_or_default())
    });
    members([("kty", "RSA".to_owned()), ("n", n), ("e", e)])
}

fn members<const N: usize>(members: [(&str, String); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modulus_has_no_leading_zero() {
        let jwk = rsa(&RSAPublicKey { modulus: &[0, 0x80, 1], exponent: &[1, 0, 1] });
        assert_eq!((jwk["n"].as_str().unwrap(), jwk["e"].as_str().unwrap()), ("gAE", "AQAB"));
    }

    #[test]
    fn what_is_no_key_has_no_jwk() {
        assert_eq!(jwk(b""), None);
        assert_eq!(jwk(b"no key at all"), None);
    }
}
