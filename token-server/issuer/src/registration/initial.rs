//! Initial access tokens, which permit the registration of clients. RFC 7591 section 3.
//!
//! The server stores only hashes. SHA-256 is enough for tokens generated from 256 random bits.

use std::{fmt, time::SystemTime};

use ring::digest;
use subtle::ConstantTimeEq as _;

use super::Template;
use crate::client::ClientId;

/// The minimum length of an initial access token: 128 bits in hexadecimal digits.
const TOKEN_CHARS_MIN: usize = 32;

/// The stored hash of an initial access token.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Returns the hash of a token; `None` if the token is short enough to be guessed.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        (token.len() >= TOKEN_CHARS_MIN).then(|| sha256(token))
    }

    /// Parses 64 hexadecimal digits, as `sha256sum` prints them.
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
    /// The name of the token, in the audit log and on the clients registered with it.
    pub name: ClientId,
    /// The hash of the token.
    pub hash: TokenHash,
    /// The token registers no client from this time on.
    pub expire_time: SystemTime,
    /// The template of the clients that it registers.
    pub template: Template,
}

/// The set of accepted initial access tokens.
#[derive(Clone, Debug, Default)]
pub struct InitialAccessTokens(Vec<InitialAccessToken>);

impl InitialAccessTokens {
    /// Creates the set. The configuration ensures that names are unique.
    #[must_use]
    pub fn new(tokens: Vec<InitialAccessToken>) -> Self {
        Self(tokens)
    }

    /// The number of tokens.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the unexpired token that matches `presented`. Compares with every token, so that timing
    /// reveals nothing.
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

    /// Returns the token with that name, even if it has expired. An expired token registers no clients, but
    /// still limits the clients that it registered.
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
