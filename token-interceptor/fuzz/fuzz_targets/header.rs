//! Arbitrary `authorization` fields, one or several: accepted or rejected, without a panic.

#![no_main]

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;
use token_interceptor::bearer::bearer;

fuzz_target!(|input: &[u8]| {
    let mut headers = HeaderMap::new();
    for value in input.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(AUTHORIZATION, value);
        }
    }
    if let Ok(token) = bearer(&headers) {
        assert_eq!(headers.len(), 1);
        assert!(!token.expose().is_empty());
    }
});
