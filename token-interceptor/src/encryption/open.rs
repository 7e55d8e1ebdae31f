//! Decrypts a token into the signed one inside it. RFC 7516 section 5.2.
//!
//! The header chooses one thing only: the decryption key. A header that names an extension, a compression or
//! a foreign key is rejected before any key is used.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::{Map, Value};

use super::{ALGORITHM, CONTENT_ENCRYPTION, DecryptionKey, NONCE_BYTES, TAG_BYTES};
use crate::{error::Unverified, json};

/// Header parameters that no token may carry: those of signed tokens, and `zip`. Compression reveals content
/// by the length, and decompression may grow the text a thousandfold (RFC 8725 section 3.6).
const REFUSED: [&str; 7] = ["crit", "b64", "zip", "jwk", "jku", "x5c", "x5u"];

/// Decrypts `token` with the key of `keys` that it names.
pub(crate) fn open(token: &str, keys: &[DecryptionKey]) -> Result<String, Unverified> {
    let mut parts = token.split('.');
    let parts = [parts.next(), parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(header_text), Some(encrypted_key), Some(nonce), Some(text), Some(tag)] = parts else {
        return Err(Unverified::Malformed("it is not five parts"));
    };
    let header = json::object(&decode(header_text)?).map_err(|_| MALFORMED)?;
    if let Some(name) = REFUSED.into_iter().find(|name| header.contains_key(*name)) {
        return Err(Unverified::HeaderNotAllowed(name));
    }
    if member(&header, "alg") != Some(ALGORITHM) || member(&header, "enc") != Some(CONTENT_ENCRYPTION) {
        return Err(Unverified::AlgorithmNotAllowed);
    }
    let kind = member(&header, "cty").unwrap_or_default();
    if !["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return Err(Unverified::NotDecryptable("its cty is not a JWT's"));
    }
    let key_id = member(&header, "kid").ok_or(Unverified::NotDecryptable("it names no key"))?;
    let key = keys.iter().find(|key| key.key_id() == key_id);
    let key = key.ok_or(Unverified::NotDecryptable("it is encrypted to another key"))?;
    let nonce: [u8; NONCE_BYTES] = decode(nonce)?.try_into().map_err(|_| MALFORMED)?;
    let tag = decode(tag)?;
    if !encrypted_key.is_empty() || tag.len() != TAG_BYTES {
        return Err(MALFORMED);
    }
    let mut text = decode(text)?;
    text.extend(tag);
    let key = key.agree(sender(&header)?, (&party(&header, "apu")?, &party(&header, "apv")?));
    let key = key.ok_or(Unverified::NotDecryptable("its epk is not a point on the curve"))?;
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| MALFORMED)?);
    let (nonce, aad) = (Nonce::assume_unique_for_key(nonce), Aad::from(header_text.as_bytes()));
    let opened = key.open_in_place(nonce, aad, &mut text);
    let opened = opened.map_err(|_| Unverified::NotDecryptable("it was encrypted to another key or modified"))?;
    // The result must be a signed token. Parsing rejects anything else, such as a second encrypted token.
    std::str::from_utf8(opened).map(str::to_owned).map_err(|_| MALFORMED)
}

const MALFORMED: Unverified = Unverified::Malformed("it is not an encrypted token");

fn sender(header: &Map<String, Value>) -> Result<&Map<String, Value>, Unverified> {
    header.get("epk").and_then(Value::as_object).ok_or(MALFORMED)
}

/// `apu` and `apv`: RFC 7518 section 4.6.1.
fn party(header: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Unverified> {
    match header.get(name) {
        None => Ok(Vec::new()),
        Some(text) => decode(text.as_str().ok_or(MALFORMED)?),
    }
}

fn member<'a>(header: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    header.get(name).and_then(Value::as_str)
}

fn decode(part: &str) -> Result<Vec<u8>, Unverified> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| MALFORMED)
}
