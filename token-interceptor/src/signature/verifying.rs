//! Public keys, from JWK.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk, KeyOperations, OctetKeyPairParameters,
    PublicKeyUse, RSAKeyParameters,
};
use ring::{
    agreement::{self, EphemeralPrivateKey},
    rand::SystemRandom,
    signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm},
};
use serde_json::{Map, Value};

use super::{Algorithm, KeyError, es512, jwk};

/// The shortest RSA modulus that `ring` verifies with, in octets.
const MODULUS_BYTES_MIN: usize = 256;
/// The longest RSA modulus that `ring` verifies with, in bits.
const MODULUS_BITS_MAX: usize = 8192;
/// The longest RSA exponent that `ring` verifies with, in bits.
const EXPONENT_BITS_MAX: usize = 33;

/// A public key with its one algorithm.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    key_id: Option<String>,
    algorithm: Algorithm,
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Public {
    /// A point on the algorithm's curve.
    Point(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// An algorithm as `ring` has it, or the one that `ring` lacks.
enum Scheme {
    Point(&'static dyn VerificationAlgorithm),
    Rsa(&'static RsaParameters),
    Es512,
}

impl Scheme {
    fn of(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Es256 => Self::Point(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => Self::Point(&signature::ECDSA_P384_SHA384_FIXED),
            Algorithm::Es512 => Self::Es512,
            Algorithm::EdDsa => Self::Point(&signature::ED25519),
            Algorithm::Rs256 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Self::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Self::Rsa(&signature::RSA_PSS_2048_8192_SHA512),
        }
    }
}

impl VerifyingKey {
    /// Reads a public JWK. RFC 7517 section 4.
    ///
    /// Without `alg`, the curve decides the algorithm. An RSA key without `alg` is taken for RS256, which RFC
    /// 9068 section 2.1 requires.
    ///
    /// # Errors
    ///
    /// Returns an error if the JWK is not a public signing key of a known algorithm: `use` other than `sig`,
    /// `key_ops` without `verify`, a private member, a curve that is not the algorithm's, damaged parameters.
    pub fn from_jwk(jwk: &Map<String, Value>) -> Result<Self, KeyError> {
        let (jwk, declared) = jwk::read(jwk)?;
        Self::new(&jwk, declared)
    }

    fn new(jwk: &Jwk, declared: Option<Algorithm>) -> Result<Self, KeyError> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return Err(KeyError::UnusableJwk("its use is not sig"));
        }
        if common.key_operations.as_ref().is_some_and(|allowed| !allowed.contains(&KeyOperations::Verify)) {
            return Err(KeyError::UnusableJwk("its key_ops do not allow verify"));
        }
        let (algorithm, public) = match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(parameters) => ec(parameters, declared)?,
            AlgorithmParameters::OctetKeyPair(parameters) => okp(parameters, declared)?,
            AlgorithmParameters::RSA(parameters) => rsa(parameters, declared)?,
            AlgorithmParameters::OctetKey(_) | AlgorithmParameters::Other(_) | _ => {
                return Err(KeyError::UnusableJwk("its kty is not EC, OKP or RSA"));
            }
        };
        Ok(Self { key_id: common.key_id.clone(), algorithm, public })
    }

    /// Returns the `kid`, if the JWK has one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Returns the one algorithm that the key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn public(&self) -> &Public {
        &self.public
    }

    /// Returns true if this key made `signature` over `message`.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = match (Scheme::of(self.algorithm), &self.public) {
            (Scheme::Point(algorithm), Public::Point(point)) => {
                UnparsedPublicKey::new(algorithm, point).verify(message, signature)
            }
            (Scheme::Rsa(parameters), Public::Rsa { n, e }) => {
                RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            (Scheme::Es512, Public::Point(point)) => return es512::verifies(point, message, signature),
            (Scheme::Point(_) | Scheme::Es512, Public::Rsa { .. }) | (Scheme::Rsa(_), Public::Point(_)) => {
                return false;
            }
        };
        verified.is_ok()
    }
}

impl TryFrom<&Jwk> for VerifyingKey {
    type Error = KeyError;

    /// Takes a public JWK as `jsonwebtoken` has it, by the rules of [`VerifyingKey::from_jwk`]. A key on
    /// P-521 has no `alg` there, as `jsonwebtoken` does not know ES512.
    fn try_from(jwk: &Jwk) -> Result<Self, KeyError> {
        let declared = match jwk.common.key_algorithm {
            None => None,
            Some(algorithm) => {
                let named = jsonwebtoken::Algorithm::try_from(algorithm).ok().and_then(Algorithm::of);
                Some(named.ok_or(KeyError::UnusableJwk("its alg is not supported"))?)
            }
        };
        Self::new(jwk, declared)
    }
}

fn ec(jwk: &EllipticCurveKeyParameters, declared: Option<Algorithm>) -> Result<(Algorithm, Public), KeyError> {
    // `ring` has no P-521.
    let (algorithm, curve, coordinate_bytes) = match jwk.curve {
        EllipticCurve::P256 => (Algorithm::Es256, Some(&agreement::ECDH_P256), 32),
        EllipticCurve::P384 => (Algorithm::Es384, Some(&agreement::ECDH_P384), 48),
        EllipticCurve::P521 if cfg!(feature = "es512") => (Algorithm::Es512, None, 66),
        EllipticCurve::P521 => {
            return Err(KeyError::UnusableJwk("its crv is P-521, which needs the feature es512"));
        }
        EllipticCurve::Ed25519 | _ => {
            return Err(KeyError::UnusableJwk("its crv is not supported"));
        }
    };
    agree(declared, algorithm)?;
    let (x, y) = (bytes(&jwk.x)?, bytes(&jwk.y)?);
    // RFC 7518 section 6.2.1.2: full length, leading zeros kept.
    if x.len() != coordinate_bytes || y.len() != coordinate_bytes {
        return Err(KeyError::UnusableJwk("a coordinate does not have the curve's length"));
    }
    let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
    if !curve.map_or_else(|| es512::is_on_curve(&point), |curve| is_on_curve(curve, &point)) {
        return Err(KeyError::UnusableJwk("its coordinates are not a point on the curve"));
    }
    Ok((algorithm, Public::Point(point)))
}

/// `ring` rejects a point off the curve only at a signature check or a key agreement. This uses a key
/// agreement.
fn is_on_curve(curve: &'static agreement::Algorithm, point: &[u8]) -> bool {
    let Ok(own) = EphemeralPrivateKey::generate(curve, &SystemRandom::new()) else { return false };
    agreement::agree_ephemeral(own, &agreement::UnparsedPublicKey::new(curve, point), |_| ()).is_ok()
}

fn okp(jwk: &OctetKeyPairParameters, declared: Option<Algorithm>) -> Result<(Algorithm, Public), KeyError> {
    if jwk.curve != EllipticCurve::Ed25519 {
        return Err(KeyError::UnusableJwk("its crv is not supported"));
    }
    agree(declared, Algorithm::EdDsa)?;
    let x = bytes(&jwk.x)?;
    if x.len() != 32 {
        return Err(KeyError::UnusableJwk("a coordinate does not have the curve's length"));
    }
    Ok((Algorithm::EdDsa, Public::Point(x)))
}

/// `ring` checks the numbers only at each signature, and then rejects the signature. Checked here, an
/// unusable key is reported as one.
fn rsa(jwk: &RSAKeyParameters, declared: Option<Algorithm>) -> Result<(Algorithm, Public), KeyError> {
    let algorithm = declared.unwrap_or(Algorithm::Rs256);
    if !matches!(Scheme::of(algorithm), Scheme::Rsa(_)) {
        return Err(KeyError::UnusableJwk("its alg does not belong to its kty"));
    }
    let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
    if n.len() < MODULUS_BYTES_MIN {
        return Err(KeyError::UnusableJwk("its modulus has less than 2048 bits"));
    }
    if bits(&n) > MODULUS_BITS_MAX {
        return Err(KeyError::UnusableJwk("its modulus has more than 8192 bits"));
    }
    let is_odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1);
    if !is_odd(&n) || !is_odd(&e) || e == [1] || bits(&e) > EXPONENT_BITS_MAX {
        return Err(KeyError::UnusableJwk("its modulus or its exponent is not one of an RSA key"));
    }
    Ok((algorithm, Public::Rsa { n, e }))
}

/// Decodes an unsigned number without its leading zero octets. Some issuers write them, although RFC 7518
/// section 6.3.1.1 forbids them.
fn number(text: &str) -> Result<Vec<u8>, KeyError> {
    Ok(bytes(text)?.into_iter().skip_while(|octet| *octet == 0).collect())
}

/// Counts the bits of a number without leading zero octets.
fn bits(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |first| first.leading_zeros());
    (number.len() * 8).saturating_sub(unused as usize)
}

fn agree(declared: Option<Algorithm>, algorithm: Algorithm) -> Result<(), KeyError> {
    match declared {
        Some(declared) if declared != algorithm => Err(KeyError::UnusableJwk("its alg does not belong to its crv")),
        Some(_) | None => Ok(()),
    }
}

fn bytes(text: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::UnusableJwk("a key parameter is not base64url"))
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifyingKey")
            .field("key_id", &self.key_id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
