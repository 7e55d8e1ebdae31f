//! The parser of a compact JWS: RFC 7515 sections 4 and 7.1, as strict as RFC 8725 demands.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use crate::{
    error::{Unverified, VerifyError, kind_of, quoted},
    json,
    signature::Algorithm,
};

/// Header parameters that name extensions; none is supported: RFC 7515 section 4.1.11, RFC 7797.
const EXTENSIONS: [&str; 2] = ["crit", "b64"];
/// Header parameters that bring a key, or name its URL. They are never used. Foreign issuers write them, and
/// RFC 7515 section 4.1 lets them be ignored. In a token of this project they are a forgery. The certificate
/// chain is last: if it is found, the header has none of the others.
const KEYS: [&str; 4] = ["jwk", "jku", "x5u", CERTIFICATES];
/// The certificate chain of the signing key.
const CERTIFICATES: &str = "x5c";

/// A decoded token. Nothing in it is trusted.
pub struct Jws<'a> {
    /// `alg`, one of the supported ones.
    pub algorithm: Algorithm,
    /// `kid`.
    pub key_id: Option<String>,
    /// `typ`.
    pub token_type: Option<String>,
    /// The signed bytes: header and claims as they were sent.
    pub signed: &'a [u8],
    /// The claims.
    pub claims: Map<String, Value>,
    /// The signature.
    pub signature: Vec<u8>,
    /// The header parameter that brings a key or its URL, if any. It is never used.
    foreign_key: Option<&'static str>,
}

impl<'a> Jws<'a> {
    /// Parses a token of this project.
    ///
    /// # Errors
    ///
    /// As [`Jws::parse_foreign`], and when the header brings a key.
    pub fn parse(token: &'a str) -> Result<Self, VerifyError> {
        let jws = Self::parse_foreign(token)?;
        jws.check_no_key()?;
        Ok(jws)
    }

    /// Parses a token of any issuer. A key in its header, or a key's URL, is ignored: RFC 7515 section 4.1.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not three parts of strict base64url with strict JSON objects as header and
    /// claims. Also if `alg` is not supported. Also if the header names an extension.
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
            Unverified::AlgorithmNotAllowed.about("alg", quoted(&name), "a supported asymmetric algorithm")
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

    /// Parses an assertion with which a client authenticates (RFC 7523). A certificate chain in the header is
    /// ignored, because MSAL sends one. Any other key in the header is rejected: no known library sends one,
    /// and the signing key is the registered one.
    ///
    /// # Errors
    ///
    /// As [`Jws::parse_foreign`], and when the header brings a key.
    pub fn parse_assertion(token: &'a str) -> Result<Self, VerifyError> {
        let jws = Self::parse_foreign(token)?;
        match jws.foreign_key {
            None | Some(CERTIFICATES) => Ok(jws),
            Some(name) => Err(not_allowed(name)),
        }
    }

    /// Rejects a header that brings a key or names its URL.
    pub(crate) fn check_no_key(&self) -> Result<(), VerifyError> {
        self.foreign_key.map_or(Ok(()), |name| Err(not_allowed(name)))
    }
}

fn not_allowed(name: &'static str) -> VerifyError {
    Unverified::HeaderNotAllowed(name).about(name, "a value".to_owned(), "no such header parameter")
}

/// Hides the content: claims may be personal, and the token is a secret.
impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

fn object(part: &str, fault: &'static str) -> Result<Map<String, Value>, VerifyError> {
    json::object(&decode(part, fault)?).map_err(|_| Unverified::Malformed(fault).into())
}

/// Rejects padding and unused bits in the last character, so that a token has one spelling.
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
