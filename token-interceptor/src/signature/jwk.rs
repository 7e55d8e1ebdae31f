//! Public keys as JWK: RFC 7517, RFC 7518 section 6, RFC 8037 section 2; thumbprints: RFC 7638.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde::Serialize;

use super::Algorithm;

/// A public signing key, ready to be written into a key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PublicJwk {
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    key_use: &'static str,
    #[serde(flatten)]
    parameters: Parameters,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kty")]
enum Parameters {
    #[serde(rename = "EC")]
    Ec { crv: &'static str, x: String, y: String },
    #[serde(rename = "OKP")]
    Okp { crv: &'static str, x: String },
    #[serde(rename = "RSA")]
    Rsa { n: String, e: String },
}

impl PublicJwk {
    /// `point` is uncompressed: 0x04, x, y.
    pub(super) fn ec(algorithm: Algorithm, point: &[u8]) -> Self {
        let crv = if algorithm == Algorithm::Es384 { "P-384" } else { "P-256" };
        let coordinates = point.get(1..).unwrap_or_default();
        let (x, y) = coordinates.split_at(coordinates.len() / 2);
        Self::new(algorithm, Parameters::Ec { crv, x: encode(x), y: encode(y) })
    }

    pub(super) fn ed25519(x: &[u8]) -> Self {
        Self::new(Algorithm::EdDsa, Parameters::Okp { crv: "Ed25519", x: encode(x) })
    }

    pub(super) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Self {
        Self::new(algorithm, Parameters::Rsa { n: encode(n), e: encode(e) })
    }

    fn new(algorithm: Algorithm, parameters: Parameters) -> Self {
        Self { kid: parameters.thumbprint(), alg: algorithm.name(), key_use: "sig", parameters }
    }

    /// Returns the key ID: the key's RFC 7638 thumbprint with SHA-256.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.kid
    }

    /// Returns the JWK as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl Parameters {
    /// The required members only, in lexicographic order (RFC 7638 section 3).
    fn thumbprint(&self) -> String {
        let canonical = match self {
            Self::Ec { crv, x, y } => format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#),
            Self::Okp { crv, x } => format!(r#"{{"crv":"{crv}","kty":"OKP","x":"{x}"}}"#),
            Self::Rsa { n, e } => format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#),
        };
        encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref())
    }
}

/// Returns the RFC 7638 thumbprint (SHA-256) of a foreign JWK, or `None` for kinds of key that do not sign
/// tokens. It is computed from the decoded bytes, so the encoding does not matter.
#[must_use]
pub fn thumbprint(jwk: &serde_json::Map<String, serde_json::Value>) -> Option<String> {
    let text = |name: &str| jwk.get(name)?.as_str();
    let bytes = |name: &str| Some(encode(&URL_SAFE_NO_PAD.decode(text(name)?).ok()?));
    // RFC 7638 section 3.3: one key has one thumbprint, although some issuers write leading zero octets.
    let number = |name: &str| {
        let octets = URL_SAFE_NO_PAD.decode(text(name)?).ok()?;
        Some(encode(&octets.into_iter().skip_while(|octet| *octet == 0).collect::<Vec<_>>()))
    };
    let crv = |allowed: &[&'static str]| {
        let crv = text("crv")?;
        allowed.iter().copied().find(|name| *name == crv)
    };
    let parameters = match text("kty")? {
        "EC" => Parameters::Ec { crv: crv(&["P-256", "P-384"])?, x: bytes("x")?, y: bytes("y")? },
        "OKP" => Parameters::Okp { crv: crv(&["Ed25519"])?, x: bytes("x")? },
        "RSA" => Parameters::Rsa { n: number("n")?, e: number("e")? },
        _ => return None,
    };
    Some(parameters.thumbprint())
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
