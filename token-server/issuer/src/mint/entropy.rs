//! Randomness for tokens. Each draw from the system is a system call, so one draw serves many tokens.

use std::cell::RefCell;

use ring::rand::SecureRandom;

use crate::error::IssueError;

const TOKEN_ID_BYTES: usize = 16;
const JITTER_BYTES: usize = 2;
/// The number of tokens that one draw from the system serves.
const TOKENS: usize = 64;

/// The randomness of one token. The caller draws it, so that minting is a pure function of its arguments.
#[derive(Clone, Copy)]
pub struct Entropy {
    pub(super) token_id: [u8; TOKEN_ID_BYTES],
    pub(super) jitter: u16,
}

/// Randomness for tokens not yet minted. It is not secret: every bearer of a token can read its ID.
struct Stock {
    bytes: [u8; TOKENS * (TOKEN_ID_BYTES + JITTER_BYTES)],
    left: usize,
}

thread_local! {
    static STOCK: RefCell<Stock> =
        const { RefCell::new(Stock { bytes: [0; TOKENS * (TOKEN_ID_BYTES + JITTER_BYTES)], left: 0 }) };
}

impl Entropy {
    /// Draws the randomness of one token.
    ///
    /// # Errors
    ///
    /// When the system's random number generator fails.
    pub fn draw(random: &dyn SecureRandom) -> Result<Self, IssueError> {
        STOCK.with_borrow_mut(|stock| {
            if stock.left == 0 {
                random
                    .fill(&mut stock.bytes)
                    .map_err(|_| IssueError::Internal("the system has no randomness".into()))?;
                stock.left = TOKENS;
            }
            stock.left -= 1;
            Ok(stock.token(stock.left))
        })
    }
}

impl Stock {
    fn token(&self, number: usize) -> Entropy {
        let (mut token_id, mut jitter) = ([0; TOKEN_ID_BYTES], [0; JITTER_BYTES]);
        let bytes = self.bytes.iter().skip(number * (TOKEN_ID_BYTES + JITTER_BYTES));
        token_id.iter_mut().chain(&mut jitter).zip(bytes).for_each(|(place, byte)| *place = *byte);
        Entropy { token_id, jitter: u16::from_be_bytes(jitter) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ring::rand::SystemRandom;

    use super::*;

    #[test]
    fn no_two_tokens_get_the_same_whether_or_not_they_are_of_one_draw() {
        let random = SystemRandom::new();
        let tokens = 5 * TOKENS;
        let drawn: Vec<_> = (0..tokens).map(|_| Entropy::draw(&random).unwrap()).collect();
        let ids: HashSet<_> = drawn.iter().map(|entropy| entropy.token_id).collect();
        assert_eq!(ids.len(), tokens);
        let jitters: HashSet<_> = drawn.iter().map(|entropy| entropy.jitter).collect();
        assert!(jitters.len() > tokens * 9 / 10);
    }
}
