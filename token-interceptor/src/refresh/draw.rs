//! The only source of randomness of the client side.

use ring::rand::{SecureRandom as _, SystemRandom};

/// Returns a number in `0.0..1.0`. Without system randomness it returns the middle, which only costs spread.
pub(super) fn draw() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0),
        Err(_) => 0.5,
    }
}
