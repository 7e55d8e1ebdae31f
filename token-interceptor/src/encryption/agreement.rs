//! Derives the content encryption key from the agreed secret: the Concat KDF of NIST SP 800-56A, as in RFC
//! 7518 section 4.6.2.

use ring::digest;
use zeroize::Zeroizing;

/// The key length of A256GCM, in bits: one round of SHA-256 yields it.
const KEY_BITS: u32 = 256;

/// Returns the key for `algorithm`: the `enc` value under direct key agreement.
pub(super) fn derive(agreed: &[u8], algorithm: &str, parties: (&[u8], &[u8])) -> Zeroizing<[u8; 32]> {
    derive_bits(agreed, algorithm, parties, KEY_BITS)
}

fn derive_bits(agreed: &[u8], algorithm: &str, (sender, recipient): (&[u8], &[u8]), bits: u32) -> Zeroizing<[u8; 32]> {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(&1_u32.to_be_bytes());
    hash.update(agreed);
    for text in [algorithm.as_bytes(), sender, recipient] {
        hash.update(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.update(&bits.to_be_bytes());
    let mut key = Zeroizing::new([0; 32]);
    key.copy_from_slice(hash.finish().as_ref());
    key
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    /// RFC 7518 appendix C.
    #[test]
    fn derives_the_key_of_the_example_in_rfc_7518() {
        let agreed = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49, 110, 163, 218, 128,
            106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let key = derive_bits(&agreed, "A128GCM", (b"Alice", b"Bob"), 128);
        assert_eq!(URL_SAFE_NO_PAD.encode(&key[..16]), "VqqN6vgjbSBcIijNcacQGg");
    }
}
