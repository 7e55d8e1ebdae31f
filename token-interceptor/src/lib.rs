//! The layers.

pub mod clock;
pub mod json;
pub mod signature;
