//! The layers.

pub mod clock;
pub mod danger;
#[allow(dead_code, reason = "the verifier, which comes next, constructs them")]
pub mod error;
pub mod http_client;
pub mod json;
pub mod signature;
pub mod status;
#[allow(dead_code, reason = "the verifier, which comes next, constructs them")]
pub mod token;
// The client side, lowest first.
pub mod destination;

pub mod source;

pub mod refresh;

pub mod attach;
