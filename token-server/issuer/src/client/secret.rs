//! Client secrets: 256 random bits with a prefix and a checksum. Only a keyed hash is stored.
//!
//! A slow password hash adds nothing to 256 random bits, which cannot be guessed at any speed. It would only
//! make denial of service easier. The pepper makes a stolen database useless for checking guesses. Only
//! imported secrets, which may be guessable, are hashed with Argon2id.

mod hash;
mod imported;

use std::fmt;

use ring::rand::{SecureRandom as _, SystemRandom};
use zeroize::Zeroizing;

pub use hash::{Pepper, Peppers, SecretHash};
pub use imported::ImportError;

/// The prefix that scanners for leaked secrets search for.
pub const PREFIX: &str = "tks_";
/// 62^43 > 2^256.
const RANDOM_CHARS: usize = 43;
/// 62^6 > 2^32: a CRC-32.
const CHECKSUM_CHARS: usize = 6;
/// Characters of the secret that are stored in the clear, to find it in a leak report: the prefix and 36 of
/// its 256 bits.
const SHOWN_CHARS: usize = PREFIX.len() + 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A client secret that this server generated, in the clear. It is shown once and not stored.
#[derive(Clone)]
pub struct ClientSecret(Zeroizing<String>);

/// The reason why a text is not a secret of this server. It distinguishes a typing error from a wrong secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretFormatError {
    /// The prefix is missing: the secret was generated elsewhere.
    #[error("the secret does not begin with {PREFIX}")]
    Foreign,
    /// Too short or too long: truncated, or pasted together with other text.
    #[error("the secret does not have the right length")]
    Length,
    /// A character outside the alphabet.
    #[error("the secret contains an invalid character")]
    Alphabet,
    /// The checksum does not match: a typing error.
    #[error("the secret's checksum does not match: it was mistyped")]
    Checksum,
}

impl ClientSecret {
    /// Generates a secret.
    ///
    /// # Errors
    ///
    /// When the system has no randomness.
    pub fn generate() -> Result<Self, ring::error::Unspecified> {
        let random = SystemRandom::new();
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM_CHARS + CHECKSUM_CHARS));
        text.push_str(PREFIX);
        let mut bytes = Zeroizing::new([0; 64]);
        while text.len() < PREFIX.len() + RANDOM_CHARS {
            random.fill(bytes.as_mut_slice())?;
            // 248 = 4 × 62. Bytes above it would make some characters more likely than others.
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

    /// Reads a secret of this server.
    ///
    /// # Errors
    ///
    /// When the form is invalid. A well-formed secret may still belong to no client.
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

    /// The secret in the clear, for the one response that shows it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The part that may always be shown: the prefix and six characters.
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
        // 21,500 draws over 62 characters: 347 expected, standard deviation below 19.
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
