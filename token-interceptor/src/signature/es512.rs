//! ES512: ECDSA on P-521 with SHA-512 (RFC 7518 section 3.4). Without the feature `es512` there is no key and
//! no signature.

#[cfg(feature = "es512")]
use p521::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};

/// Returns true if `point` is uncompressed (0x04, x, y) and on the curve. Each coordinate is less than the
/// field's prime.
#[cfg(feature = "es512")]
pub(super) fn is_on_curve(point: &[u8]) -> bool {
    VerifyingKey::from_sec1_bytes(point).is_ok()
}

#[cfg(not(feature = "es512"))]
pub(super) fn is_on_curve(_point: &[u8]) -> bool {
    false
}

/// Returns true if the key `point` made `signature` over `message`. A signature is r and s, 66 octets each,
/// both above zero and below the curve's order.
#[cfg(feature = "es512")]
pub(super) fn verifies(point: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(point), Signature::from_slice(signature)) else {
        return false;
    };
    key.verify(message, &signature).is_ok()
}

#[cfg(not(feature = "es512"))]
pub(super) fn verifies(_point: &[u8], _message: &[u8], _signature: &[u8]) -> bool {
    false
}

#[cfg(test)]
mod tests;
