//! Client secrets: 256 random bits made here, prefixed and checksummed, kept only as a keyed hash.
//!
//! A slow password hash on 256 random bits buys nothing and is a lever for denial of service: guessing is
//! hopeless at any speed. The pepper keeps a stolen database useless for checking guesses at all. Only
//! secrets that were imported from elsewhere, and may be guessable, go through Argon2id.

mod hash;
mod imported;

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

pub use hash::{Pepper, Peppers, SecretHash};
pub use imported::ImportError;

/// What scanners for leaked secrets look for.
pub const PREFIX: &str = "tks_";
/// 62^43 > 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 > 2^32: a CRC-32.
const CHECKSUM_CHARS: usize = 6;
/// Characters of the secret that are kept in the clear, to find it in a leak report: the prefix and 36 of
/// its 256 bits.
const SHOWN_CHARS: usize = PREFIX.len() + 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A client secret of this server's making, in the clear. Shown once and forgotten.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

/// Why a text is not a secret of this server's making: tells a typing error from a wrong secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFormatError {
    /// Without the prefix: made elsewhere.
    #[error("the secret does not begin with {PREFIX}")]
    Foreign,
    /// Too short or too long: cut off, or pasted with something else.
    #[error("the secret does not have the right length")]
    Length,
    /// A character that no secret has.
    #[error("the secret has a character that no secret has")]
    Alphabet,
    /// The checksum does not fit: mistyped.
    #[error("the secret's checksum does not fit: it was mistyped")]
    Checksum,
}

impl ClientSecret {
    /// Makes a secret.
    ///
    /// # Errors
    ///
    /// Where the system has no randomness.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS));
        text.push_str(PREFIX);
        let mut bytes = Zeroizing::new([0; 64]);
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            random.fill(bytes.as_mut_slice())?;
            // 248 = 4 × 62: what lies above would make some characters likelier than others.
            for byte in bytes.iter().filter(|byte| **byte < 248) {
                if text.len() < PREFIX.len() + RANDOM_CHARS {
                    text.push(digit(u32::from(*byte)));
                }
            }
        }
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(Self(text))
    }

    /// Reads a secret of this server's making.
    ///
    /// # Errors
    ///
    /// Says what is wrong with its form. A well-formed secret may still be nobody's.
    pub fn parse(text: &str) -> Result<Self, SecretFormatError> {
        let rest = text.strip_prefix(PREFIX).ok_or(SecretFormatError::Foreign)?;
        if rest.len() != RANDOM_CHARS + CHECKSUM_CHARS {
            return Err(SecretFormatError::Length);
        }
        if !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(SecretFormatError::Alphabet);
        }
        match text.split_at_checked(PREFIX.len() + RANDOM_CHARS) {
            Some((body, sum)) if checksum(body) == sum => Ok(Self(Zeroizing::new(text.to_owned()))),
            Some(_) | None => Err(SecretFormatError::Checksum),
        }
    }

    /// The secret in the clear: for the one answer that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What may be shown for ever: the prefix and six characters.
    #[must_use]
    pub fn shown_prefix(&self) -> &str {
        self.0.get(..SHOWN_CHARS).unwrap_or(PREFIX)
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes());
    let mut digits = [0; CHECKSUM_CHARS];
    for place in digits.iter_mut().rev() {
        *place = rest;
        rest /= 62;
    }
    digits.into_iter().map(digit).collect()
}

/// The character for `value` modulo 62.
fn digit(value: u32) -> char {
    let index = usize::try_from(value % 62).unwrap_or(0);
    char::from(ALPHABET.get(index).copied().unwrap_or(b'0'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_generated_secret_parses_and_no_two_are_alike() {
        let secret = ClientSecret::generate().unwrap();
        assert_eq!(ClientSecret::parse(secret.expose()).unwrap().expose(), secret.expose());
        assert_eq!(secret.expose().len(), 53);
        assert_ne!(secret.expose(), ClientSecret::generate().unwrap().expose());
    }

    #[test]
    fn every_character_of_the_alphabet_occurs_about_as_often() {
        let mut counts = std::collections::HashMap::new();
        for _ in 0..500 {
            let secret = ClientSecret::generate().unwrap();
            for c in secret.expose()[PREFIX.len()..PREFIX.len() + RANDOM_CHARS].chars() {
                *counts.entry(c).or_insert(0u32) += 1;
            }
        }
        // 21,500 draws over 62: 347 expected, standard deviation below 19.
        assert_eq!(counts.len(), 62);
        assert!(counts.values().all(|count| (230..470).contains(count)), "{counts:?}");
    }

    #[test]
    fn each_mistake_of_form_is_told_apart() {
        let good = ClientSecret::generate().unwrap();
        let good = good.expose();
        let error = |text: &str| ClientSecret::parse(text).unwrap_err();
        assert_eq!(error("correct horse"), SecretFormatError::Foreign);
        assert_eq!(error(&good[..good.len() - 1]), SecretFormatError::Length);
        assert_eq!(error(&format!("{good} ")), SecretFormatError::Length);
        assert_eq!(error(&format!("{}-", &good[..good.len() - 1])), SecretFormatError::Alphabet);
    }

    proptest! {
        #[test]
        fn one_mistyped_character_fails_the_checksum(place in 4..53usize, other in "[0-9A-Za-z]") {
            let good = ClientSecret::generate().unwrap();
            let mut text = good.expose().to_owned();
            prop_assume!(text[place..=place] != other);
            text.replace_range(place..=place, &other);
            prop_assert_eq!(ClientSecret::parse(&text).unwrap_err(), SecretFormatError::Checksum);
        }

        #[test]
        fn no_text_makes_parsing_panic(text in "(tks_)?.{0,60}") {
            let _ = ClientSecret::parse(&text);
        }
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let secret = ClientSecret::generate().unwrap();
        assert_eq!(format!("{secret:?}"), "ClientSecret(…)");
    }
}
