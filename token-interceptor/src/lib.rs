//! The layers.

pub mod clock;
pub mod danger;
pub mod http_client;
pub mod json;
pub mod signature;
