//! The two halves of an audience's key: P-256, from JWK or PEM.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use p256::{
    PublicKey, SecretKey,
    elliptic_curve::sec1::ToSec1Point as _,
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral},
    rand::{SecureRandom as _, SystemRandom},
};
use rustls_pki_types::{PrivateKeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::{ALGORITHM, CONTENT_ENCRYPTION, NONCE_BYTES, agreement};
use crate::{json, signature::thumbprint};

/// An error of a key that is unusable, or of a failed encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EncryptionKeyError(&'static str);

/// The public key of an audience. The issuer encrypts tokens to it.
#[derive(Clone)]
pub struct EncryptionKey {
    key_id: String,
    /// Uncompressed.
    point: Vec<u8>,
}

/// The private key of an audience. It decrypts tokens.
#[derive(Clone)]
pub struct DecryptionKey {
    key_id: String,
    secret: SecretKey,
}

impl EncryptionKey {
    /// Reads a public JWK (RFC 7518 section 6.2). Its ID is its `kid`, or its thumbprint (RFC 7638).
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a public key on P-256 for ECDH-ES.
    pub fn from_jwk(jwk: &str) -> Result<Self, EncryptionKeyError> {
        let jwk = jwk_object(jwk)?;
        if jwk.contains_key("d") {
            return Err(EncryptionKeyError("it has a private member"));
        }
        let point = point(&jwk)?;
        Ok(Self { key_id: key_id(&jwk)?, point: PublicKey::to_sec1_point(&point, false).as_bytes().to_vec() })
    }

    /// Reads a public key in PEM (`BEGIN PUBLIC KEY`). Its ID is its thumbprint (RFC 7638).
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a public key on P-256.
    pub fn from_pem(pem: &[u8]) -> Result<Self, EncryptionKeyError> {
        const NOT_P256: EncryptionKeyError = EncryptionKeyError("it is not a public key on P-256 in PEM");
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| NOT_P256)?;
        Ok(Self::of(&PublicKey::from_public_key_der(&der).map_err(|_| NOT_P256)?))
    }

    fn of(public: &PublicKey) -> Self {
        let point = public.to_sec1_point(false).as_bytes().to_vec();
        Self { key_id: thumbprint(&public_jwk(&point)).unwrap_or_default(), point }
    }

    /// `kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the public JWK, for the party that encrypts.
    #[must_use]
    pub fn to_jwk(&self) -> String {
        let mut jwk = public_jwk(&self.point);
        for (name, value) in [("use", "enc"), ("alg", ALGORITHM), ("kid", &self.key_id)] {
            jwk.insert(name.to_owned(), value.into());
        }
        Value::Object(jwk).to_string()
    }

    /// Encrypts a signed token, with a new ephemeral key for each. The result is in JWE compact
    /// serialization.
    ///
    /// # Errors
    ///
    /// Returns an error if the system provides no random bytes.
    pub fn encrypt(&self, token: &str) -> Result<String, EncryptionKeyError> {
        const FAILED: EncryptionKeyError = EncryptionKeyError("the library refused to encrypt");
        let random = SystemRandom::new();
        let ephemeral = EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| FAILED)?;
        let public = ephemeral.compute_public_key().map_err(|_| FAILED)?;
        let header = json!({
            "alg": ALGORITHM, "enc": CONTENT_ENCRYPTION, "cty": "JWT", "kid": self.key_id,
            "epk": public_jwk(public.as_ref()),
        });
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        let recipient = UnparsedPublicKey::new(&ECDH_P256, &self.point);
        let key =
            agree_ephemeral(ephemeral, &recipient, |agreed| agreement::derive(agreed, CONTENT_ENCRYPTION, (&[], &[])))
                .map_err(|_| FAILED)?;
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce).map_err(|_| FAILED)?;
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).map_err(|_| FAILED)?);
        let mut text = token.as_bytes().to_vec();
        let (aad, at) = (Aad::from(header.as_bytes()), Nonce::assume_unique_for_key(nonce));
        let tag = key.seal_in_place_separate_tag(at, aad, &mut text).map_err(|_| FAILED)?;
        let [nonce, text, tag] = [&nonce[..], &text, tag.as_ref()].map(|part| URL_SAFE_NO_PAD.encode(part));
        // With direct key agreement the second part, the encrypted key, is empty. RFC 7516 section 5.1.
        Ok(format!("{header}..{nonce}.{text}.{tag}"))
    }
}

impl DecryptionKey {
    /// Reads a private JWK (RFC 7518 section 6.2). Its ID is its `kid`, or its thumbprint (RFC 7638).
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a private key on P-256 for ECDH-ES, or its halves do not belong
    /// together.
    pub fn from_jwk(jwk: &str) -> Result<Self, EncryptionKeyError> {
        let jwk = jwk_object(jwk)?;
        let secret = Zeroizing::new(coordinate(&jwk, "d")?);
        let secret =
            SecretKey::from_slice(&secret).map_err(|_| EncryptionKeyError("its d is not a scalar of P-256"))?;
        if secret.public_key() != point(&jwk)? {
            return Err(EncryptionKeyError("its private and public halves do not match"));
        }
        Ok(Self { key_id: key_id(&jwk)?, secret })
    }

    /// Reads a private key in PEM: PKCS#8 or SEC1. Its ID is its thumbprint (RFC 7638).
    ///
    /// # Errors
    ///
    /// Returns an error if it is not a private key on P-256.
    pub fn from_pem(pem: &[u8]) -> Result<Self, EncryptionKeyError> {
        const NOT_P256: EncryptionKeyError = EncryptionKeyError("it is not a private key on P-256 in PEM");
        let der = PrivateKeyDer::from_pem_slice(pem).map_err(|_| NOT_P256)?;
        let secret = if let PrivateKeyDer::Pkcs8(der) = &der {
            SecretKey::from_pkcs8_der(der.secret_pkcs8_der()).ok()
        } else if let PrivateKeyDer::Sec1(der) = &der {
            SecretKey::from_sec1_der(der.secret_sec1_der()).ok()
        } else {
            None
        };
        let secret = secret.ok_or(NOT_P256)?;
        Ok(Self { key_id: EncryptionKey::of(&secret.public_key()).key_id, secret })
    }

    /// Returns the public half, to be registered with the issuer.
    #[must_use]
    pub fn public(&self) -> EncryptionKey {
        EncryptionKey { key_id: self.key_id.clone(), ..EncryptionKey::of(&self.secret.public_key()) }
    }

    /// `kid`.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Returns the content encryption key agreed on with `sender`. The sender's point must be on the curve:
    /// with points off it, a few answers would reveal the private key (an invalid-curve attack).
    pub(super) fn agree(&self, sender: &Map<String, Value>, parties: (&[u8], &[u8])) -> Option<Zeroizing<[u8; 32]>> {
        let sender = point(sender).ok()?;
        let agreed = p256::ecdh::diffie_hellman(self.secret.to_nonzero_scalar(), sender.as_affine());
        Some(agreement::derive(agreed.raw_secret_bytes(), CONTENT_ENCRYPTION, parties))
    }
}

fn jwk_object(jwk: &str) -> Result<Map<String, Value>, EncryptionKeyError> {
    let jwk = json::object(jwk.as_bytes()).map_err(|_| EncryptionKeyError("it is not a JWK"))?;
    let is = |name: &str, expected: &str| jwk.get(name).is_none_or(|value| value == expected);
    if !is("use", "enc") {
        return Err(EncryptionKeyError("its use is not enc"));
    }
    if !is("alg", ALGORITHM) {
        return Err(EncryptionKeyError("its alg is not ECDH-ES"));
    }
    Ok(jwk)
}

fn key_id(jwk: &Map<String, Value>) -> Result<String, EncryptionKeyError> {
    match jwk.get("kid") {
        None => thumbprint(jwk).ok_or(EncryptionKeyError("it is not a JWK")),
        Some(kid) => match kid.as_str().filter(|kid| !kid.is_empty()) {
            Some(kid) => Ok(kid.to_owned()),
            None => Err(EncryptionKeyError("its kid is not text")),
        },
    }
}

/// Reads the point of a JWK (RFC 7518 section 6.2.1). Rejects a point that is not on the curve.
fn point(jwk: &Map<String, Value>) -> Result<PublicKey, EncryptionKeyError> {
    const NOT_P256: EncryptionKeyError = EncryptionKeyError("it is not a point on P-256");
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    if text("kty") != Some("EC") || text("crv") != Some("P-256") {
        return Err(NOT_P256);
    }
    let point = [&[0x04], coordinate(jwk, "x")?.as_slice(), coordinate(jwk, "y")?.as_slice()].concat();
    PublicKey::from_sec1_bytes(&point).map_err(|_| NOT_P256)
}

fn coordinate(jwk: &Map<String, Value>, name: &str) -> Result<Vec<u8>, EncryptionKeyError> {
    const FAULT: EncryptionKeyError = EncryptionKeyError("a member is not 32 bytes in base64url");
    let text = jwk.get(name).and_then(Value::as_str).ok_or(FAULT)?;
    URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == 32).ok_or(FAULT)
}

/// `point` is uncompressed: 0x04, x, y.
fn public_jwk(point: &[u8]) -> Map<String, Value> {
    let coordinates = point.get(1..).unwrap_or_default();
    let (x, y) = coordinates.split_at(coordinates.len() / 2);
    let text = |bytes: &[u8]| Value::from(URL_SAFE_NO_PAD.encode(bytes));
    let members = [("kty", "EC".into()), ("crv", "P-256".into()), ("x", text(x)), ("y", text(y))];
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptionKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecryptionKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}
