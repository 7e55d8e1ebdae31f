//! Initial access tokens: who may register clients, and as what. RFC 7591 section 3.
//!
//! The server never has one in the clear: a SHA-256 is enough for what is made of 256 random bits.

use std::{fmt, time::SystemTime};

use ring::digest;
use subtle::ConstantTimeEq as _;

use super::Template;
use crate::client::ClientId;

/// Characters of an initial access token, at the least: 128 bits in hexadecimal digits.
const TOKEN_CHARS_MIN: usize = 32;

/// What is kept of an initial access token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of a token; `None` where it is so short that it could be guessed.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        (token.len() >= TOKEN_CHARS_MIN).then(|| sha256(token))
    }

    /// Reads 64 hexadecimal digits, as `sha256sum` writes them.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
        let bytes = bytes.collect::<Option<Vec<u8>>>().filter(|_| rest.is_empty())?;
        bytes.try_into().map(Self).ok()
    }
}

fn sha256(text: &str) -> TokenHash {
    TokenHash(digest::digest(&digest::SHA256, text.as_bytes()).as_ref().try_into().unwrap_or_default())
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// One initial access token.
#[derive(Clone, Debug)]
pub struct InitialAccessToken {
    /// Stands in the audit, and with the clients that it registered.
    pub name: ClientId,
    /// What is known of it.
    pub hash: TokenHash,
    /// Nobody registers with it from this time on.
    pub expire_time: SystemTime,
    /// What it registers.
    pub template: Template,
}

/// Every initial access token that is accepted.
#[derive(Clone, Debug, Default)]
pub struct InitialAccessTokens(Vec<InitialAccessToken>);

impl InitialAccessTokens {
    /// Of each name there is one: the configuration sees to that.
    #[must_use]
    pub fn new(tokens: Vec<InitialAccessToken>) -> Self {
        Self(tokens)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The live one that `presented` is; each is compared, whichever it is.
    pub(super) fn find(&self, presented: &str, now: SystemTime) -> Option<&InitialAccessToken> {
        let hash = sha256(presented);
        let mut found = None;
        for known in &self.0 {
            if bool::from(known.hash.0.ct_eq(&hash.0)) {
                found = Some(known);
            }
        }
        found.filter(|known| now < known.expire_time)
    }

    /// The one of that name, expired or not: an expired one registers nobody, and still says what those may become
    /// that it registered.
    pub(super) fn named(&self, name: &str) -> Option<&InitialAccessToken> {
        self.0.iter().find(|known| known.name.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_what_sha256sum_writes() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(TokenHash::from_hex(empty), Some(sha256("")));
        for bad in ["", &empty[1..], &format!("{empty}00"), &empty.replace('e', "g")] {
            assert_eq!(TokenHash::from_hex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_token_that_could_be_guessed_has_no_hash() {
        assert!(TokenHash::of(&"x".repeat(32)).is_some());
        assert!(TokenHash::of(&"x".repeat(31)).is_none());
    }

    #[test]
    fn debug_does_not_show_the_hash() {
        assert_eq!(format!("{:?}", sha256("")), "TokenHash(…)");
    }
}
