//! A compact JWS taken apart: RFC 7515 sections 4 and 7.1, as strictly as RFC 8725 asks.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    error::{Unverified, VerifyError},
    json,
    signature::Algorithm,
};

/// Header parameters that no token may carry. `crit` and `b64` name extensions, of which none is known here
/// (RFC 7515 section 4.1.11). The others bring a key, or say where to fetch one: a forger's, then.
const REFUSED: [&str; 6] = ["crit", "b64", "jwk", "jku", "x5c", "x5u"];

/// Decoded, and not believed.
pub struct Jws<'a> {
    /// `alg`: of the known ones.
    pub algorithm: Algorithm,
    /// `kid`.
    pub key_id: Option<String>,
    /// `typ`.
    pub token_type: Option<String>,
    /// What the signature is over: header and claims as they were sent.
    pub signed: &'a [u8],
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl<'a> Jws<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    ///
    /// When it is not three parts of strict base64url, header and claims strict JSON objects; when `alg` is not
    /// a known one; when the header names an extension, or brings a key.
    pub fn parse(token: &'a str) -> Result<Self, VerifyError> {
        let malformed = Unverified::Malformed("it is not three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        if header.is_empty() || signature.is_empty() || claims.is_empty() || claims.contains('.') {
            return Err(malformed.into());
        }
        let header = object(header, "its header is not base64url of a JSON object")?;
        if let Some(name) = REFUSED.into_iter().find(|name| header.contains_key(*name)) {
            return Err(Unverified::HeaderNotAllowed(name).into());
        }
        let name = text(&header, "alg")?.ok_or(Unverified::Malformed("it has no alg"))?;
        // `none` and HMAC have no name here (RFC 8725 section 3.1).
        let algorithm = Algorithm::from_name(&name).ok_or(Unverified::AlgorithmNotAllowed)?;
        Ok(Self {
            algorithm,
            key_id: text(&header, "kid")?,
            token_type: text(&header, "typ")?,
            signed: signed.as_bytes(),
            claims: object(claims, "its claims are not base64url of a JSON object")?,
            signature: decode(signature, "its signature is not base64url")?,
        })
    }
}

/// Claims may be personal, and the whole is a secret.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn object(part: &str, fault: &'static str) -> Result<Map<String, Value>, VerifyError> {
    json::object(&decode(part, fault)?).map_err(|_| Unverified::Malformed(fault).into())
}

/// Refuses padding, and bits in the last character that say nothing: one token, one spelling.
fn decode(part: &str, fault: &'static str) -> Result<Vec<u8>, VerifyError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Unverified::Malformed(fault).into())
}

fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, VerifyError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(Unverified::Malformed("a header parameter has the wrong type").into())
        }
    }
}
