//! A compact JWS taken apart: RFC 7515 sections 4 and 7.1, as strictly as RFC 8725 asks.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    error::{Unverified, VerifyError, kind_of, quoted},
    json,
    signature::Algorithm,
};

/// Header parameters that name extensions, of which none is known here: RFC 7515 section 4.1.11, RFC 7797.
const EXTENSIONS: [&str; 2] = ["crit", "b64"];
/// Header parameters that bring a key, or say where to fetch one. They are never used. RFC 7515 section 4.1 lets them
/// be ignored, as other makers write them; in a token of this project they are a forger's.
const KEYS: [&str; 4] = ["jwk", "jku", "x5c", "x5u"];

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
    /// The header parameter that brings a key or its address, where there is one. It is never used.
    foreign_key: Option<&'static str>,
}

impl<'a> Jws<'a> {
    /// Takes a token of this project apart.
    ///
    /// # Errors
    ///
    /// As [`Jws::parse_foreign`], and when the header brings a key.
    pub fn parse(token: &'a str) -> Result<Self, VerifyError> {
        let jws = Self::parse_foreign(token)?;
        jws.check_no_key()?;
        Ok(jws)
    }

    /// Takes a token of any maker apart. A key in its header, or the address of one, is ignored: RFC 7515 section 4.1.
    ///
    /// # Errors
    ///
    /// When it is not three parts of strict base64url, header and claims strict JSON objects; when `alg` is not
    /// a known one; when the header names an extension.
    pub fn parse_foreign(token: &'a str) -> Result<Self, VerifyError> {
        let malformed = Unverified::Malformed("it is not three parts");
        let (signed, signature) = token.rsplit_once('.').ok_or(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(malformed)?;
        if header.is_empty() || signature.is_empty() || claims.is_empty() || claims.contains('.') {
            return Err(malformed.into());
        }
        let header = object(header, "its header is not base64url of a JSON object")?;
        if let Some(name) = EXTENSIONS.into_iter().find(|name| header.contains_key(*name)) {
            return Err(not_allowed(name));
        }
        let name = text(&header, "alg")?;
        let name =
            name.ok_or_else(|| Unverified::Malformed("it has no alg").about("alg", kind_of(None), "a string"))?;
        // `none` and HMAC have no name here (RFC 8725 section 3.1).
        let algorithm = Algorithm::from_name(&name).ok_or_else(|| {
            Unverified::AlgorithmNotAllowed.about("alg", quoted(&name), "an asymmetric algorithm that is known here")
        })?;
        Ok(Self {
            algorithm,
            key_id: text(&header, "kid")?,
            token_type: text(&header, "typ")?,
            signed: signed.as_bytes(),
            claims: object(claims, "its claims are not base64url of a JSON object")?,
            signature: decode(signature, "its signature is not base64url")?,
            foreign_key: KEYS.into_iter().find(|name| header.contains_key(*name)),
        })
    }

    /// Refuses a header that brings a key, or the address of one.
    pub(crate) fn check_no_key(&self) -> Result<(), VerifyError> {
        self.foreign_key.map_or(Ok(()), |name| Err(not_allowed(name)))
    }
}

fn not_allowed(name: &'static str) -> VerifyError {
    Unverified::HeaderNotAllowed(name).about(name, "a value".to_owned(), "no such header parameter")
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

fn text(header: &Map<String, Value>, name: &'static str) -> Result<Option<String>, VerifyError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        other => {
            Err(Unverified::Malformed("a header parameter has the wrong type").about(name, kind_of(other), "a string"))
        }
    }
}
