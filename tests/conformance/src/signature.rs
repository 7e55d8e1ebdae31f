//! Keys that sign the cases' tokens, and forged signatures.

use serde_json::{Map, Value};
use token_interceptor::{
    signature::{Algorithm, SigningKey},
    test_util::Es512Key,
};

use crate::case::SignatureChange;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The order of P-521: SEC 2 section 2.6.1.
const P521_ORDER: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x51, 0x86, 0x87, 0x83,
    0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47,
    0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

/// A private key of a case.
pub(crate) enum Key {
    Product(SigningKey),
    /// The product verifies ES512 and does not sign with it.
    Es512(Es512Key),
}

impl Key {
    pub(crate) fn generate(algorithm: &str) -> Result<Self> {
        let algorithm = Algorithm::from_name(algorithm).ok_or_else(|| format!("no algorithm {algorithm}"))?;
        if algorithm == Algorithm::Es512 {
            return Ok(Self::Es512(Es512Key::generate()));
        }
        let der = SigningKey::generate_pkcs8(algorithm)?;
        Ok(Self::Product(SigningKey::from_der(algorithm, &der)?))
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Product(key) => key.algorithm(),
            Self::Es512(_) => Algorithm::Es512,
        }
    }

    /// Returns the public JWK, with `kid`, `alg` and `use`.
    pub(crate) fn jwk(&self) -> Result<Map<String, Value>> {
        Ok(match self {
            Self::Product(key) => serde_json::from_str(&key.public_jwk().to_json())?,
            Self::Es512(key) => serde_json::from_value(key.jwk())?,
        })
    }

    pub(crate) fn sign(&self, message: &[u8], change: SignatureChange) -> Result<Vec<u8>> {
        let signature = match self {
            Self::Product(key) => key.sign_bytes(message)?,
            Self::Es512(key) => key.sign_bytes(message),
        };
        changed(&signature, change)
    }
}

/// Applies the change. It replaces r or s as a whole, or the octets.
fn changed(signature: &[u8], change: SignatureChange) -> Result<Vec<u8>> {
    let (r, s) = signature.split_at(signature.len() / 2);
    let (r, s) = (r.to_vec(), s.to_vec());
    let zero = vec![0; r.len()];
    Ok(match change {
        SignatureChange::None => [r, s].concat(),
        SignatureChange::FirstBitOfRFlipped => [flipped(r, 0, 0x80), s].concat(),
        SignatureChange::LastBitOfRFlipped => [last_flipped(r), s].concat(),
        SignatureChange::FirstBitOfSFlipped => [r, flipped(s, 0, 0x80)].concat(),
        SignatureChange::LastBitOfSFlipped => [r, last_flipped(s)].concat(),
        SignatureChange::RZero => [zero, s].concat(),
        SignatureChange::SZero => [r, zero].concat(),
        SignatureChange::RAndSZero => [zero.clone(), zero].concat(),
        SignatureChange::ROrder => [order(&r)?, s].concat(),
        SignatureChange::SOrder => [r, order(&s)?].concat(),
        SignatureChange::RPlusOrder => [sum(&r, &order(&r)?), s].concat(),
        SignatureChange::SPlusOrder => [r, sum(&s, &order(&s)?)].concat(),
        SignatureChange::RAndSMaximal => vec![0xff; signature.len()],
        SignatureChange::LeadingZero => [vec![0], r, s].concat(),
        SignatureChange::TrailingZero => [r, s, vec![0]].concat(),
        SignatureChange::CutAtTheEnd => signature.iter().copied().take(signature.len() - 1).collect(),
        SignatureChange::CutInBothNumbers => r.into_iter().skip(1).chain(s.into_iter().skip(1)).collect(),
        SignatureChange::RAlone => r,
        SignatureChange::Der => der(&r, &s)?,
    })
}

fn flipped(mut number: Vec<u8>, octet: usize, bit: u8) -> Vec<u8> {
    if let Some(octet) = number.get_mut(octet) {
        *octet ^= bit;
    }
    number
}

fn last_flipped(number: Vec<u8>) -> Vec<u8> {
    let last = number.len() - 1;
    flipped(number, last, 1)
}

/// Returns the order of the curve with numbers of this length. P-521 alone has room for a number and the
/// order.
fn order(number: &[u8]) -> Result<Vec<u8>> {
    if number.len() == P521_ORDER.len() { Ok(P521_ORDER.to_vec()) } else { Err("the change is for ES512".into()) }
}

/// Adds two numbers of one length.
fn sum(one: &[u8], other: &[u8]) -> Vec<u8> {
    let mut carry = 0;
    let mut digits = Vec::with_capacity(one.len());
    for (one, other) in one.iter().zip(other).rev() {
        let [low, high] = (u16::from(*one) + u16::from(*other) + carry).to_le_bytes();
        digits.push(low);
        carry = u16::from(high);
    }
    digits.reverse();
    digits
}

/// Encodes r and s as an ASN.1 sequence of integers: X.690 section 8.3.
fn der(r: &[u8], s: &[u8]) -> Result<Vec<u8>> {
    let integer = |number: &[u8]| -> Result<Vec<u8>> {
        let digits: Vec<u8> = number.iter().copied().skip_while(|octet| *octet == 0).collect();
        let sign: &[u8] = if digits.first().is_some_and(|octet| *octet >= 0x80) { &[0] } else { &[] };
        Ok([&[2, u8::try_from(sign.len() + digits.len())?], sign, digits.as_slice()].concat())
    };
    let both = [integer(r)?, integer(s)?].concat();
    let length = u8::try_from(both.len())?;
    let head = if length < 0x80 { vec![0x30, length] } else { vec![0x30, 0x81, length] };
    Ok([head, both].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_sum_are_those_of_p521() {
        let before = flipped(P521_ORDER.to_vec(), 65, 1);
        let one = [&[0; 65][..], &[1]].concat();
        assert_eq!(sum(&before, &one), P521_ORDER);
        let twice = sum(&P521_ORDER, &P521_ORDER);
        assert_eq!((twice.len(), twice.first(), twice.last()), (66, Some(&3), Some(&0x12)));
    }

    #[test]
    fn changes_leave_the_length_that_they_name() {
        let key = Key::generate("ES512").unwrap();
        for (change, length) in [
            (SignatureChange::None, 132),
            (SignatureChange::SPlusOrder, 132),
            (SignatureChange::SOrder, 132),
            (SignatureChange::LeadingZero, 133),
            (SignatureChange::CutInBothNumbers, 130),
            (SignatureChange::RAlone, 66),
        ] {
            assert_eq!(key.sign(b"message", change).unwrap().len(), length, "{change:?}");
        }
        let p256 = Key::generate("ES256").unwrap();
        assert!(p256.sign(b"message", SignatureChange::ROrder).is_err());
    }
}
