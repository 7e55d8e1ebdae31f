//! The one place where this side of the library asks for chance.

use ring::rand::{SecureRandom as _, SystemRandom};

/// A number in `0.0..1.0`; the middle where the system has no randomness, which costs spread and nothing else.
pub(super) fn draw() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
