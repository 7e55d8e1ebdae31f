//! Arbitrary answers of a key set endpoint: no panic, and every key is either used or skipped.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use token_interceptor::key_set::KeySet;

fuzz_target!(|input: &[u8]| {
    if let Ok(set) = KeySet::from_jwks(input) {
        let document: Value = serde_json::from_slice(input).expect("a key set is JSON");
        let keys = document["keys"].as_array().expect("keys is an array").len();
        assert_eq!(set.len() + set.skipped(), keys);
    }
});
