//! The server layer and its key sets on a simulated network, in simulated time: no sleeping.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "../support/http_issuer.rs"]
mod http_issuer;

#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "../support/recorder.rs"]
mod recorder;

mod floods;
mod jwks;
mod key_sets;
mod network;
#[path = "../support/simulated.rs"]
mod simulated;
mod pushed;
#[path = "../support/trust_service.rs"]
mod trust_service;
